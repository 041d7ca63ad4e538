"""`Session`: one person's (or script's) stay in the net shell: runs lines of commands, and is what they get.

A command acts on the stack under the driver's lock (`net`), and where it has to wait it does so in `wait`:
until something rang the bell (a frame that it watches for, input, a connection's `on_ready`), until a time,
or until Ctrl-C (`interrupt`). So one loop of "do what there is, wait" serves every streaming command, in
real time and in virtual time alike. Blocking sockets and pings come from `stack`.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from scapystack.base.errors import ConfigError, ScapystackError
from scapystack.base.types import SECOND, Nanoseconds
from scapystack.shell.ground import Interrupted, SessionGround
from scapystack.shell.output import Output, Sink
from scapystack.shell.table import find, split
from scapystack.sockets.facade import Stack

if TYPE_CHECKING:
    from scapystack.base.iface import Interface
    from scapystack.layers.tcp.user import Connection
    from scapystack.runtime.driver import Driver, Entered
    from scapystack.runtime.virtual import Simulation
    from scapystack.shell.debug import Debug
    from scapystack.sockets.waiting import Waiter

log = logging.getLogger("scapystack")

USAGE = 2
INTERRUPTED = 130
BUG = 70
JSON = ("--json", "-j", "-json")


class Session:
    """Runs commands on the stack of `driver`, one line at a time; what they say goes to `sink`.

    `simulation` is that of a simulated driver. `cwd` is where names of files begin. `terminal`, `width` and
    `height` tell what the sink leads to. `interrupt` and `feed` are for other threads.
    """

    def __init__(
        self,
        driver: Driver,
        sink: Sink,
        *,
        simulation: Simulation | None = None,
        cwd: str = "",
        terminal: bool = False,
        width: int = 80,
        height: int = 24,
    ) -> None:
        self.driver = driver
        self.out = Output(sink, terminal=terminal, width=width, height=height)
        self.cwd = cwd or os.getcwd()
        self.left = False
        """`exit` was said."""
        self.picked: Connection | None = None
        """The connection that `conn` picked."""
        self.numbers: dict[int, Connection] = {}
        """Connections by the numbers that `conn` gave them."""
        self.counted: dict[str, int] = {}
        """What `nstat` saw last."""
        self.debug: Debug | None = None
        """What `debug -n` shows meanwhile."""
        self._ground = SessionGround(driver, simulation)
        self.stack = Stack(driver=driver, ground=self._ground)
        """The stack, with sockets whose calls end at Ctrl-C."""
        self.wants_input: Callable[[], None] = lambda: None
        """Called for a command that reads input and has had all: whoever has more should `feed` a piece, once."""
        self.wants_keys: Callable[[], None] = lambda: None
        """The same for a command that acts on single keys, as they are hit."""
        self._input: deque[bytes | None] = deque()
        self._hungry = self._asked = self._keys = False
        self._rung = False
        self._bell: Waiter | None = None
        # frames are stamped by the driver's clock; people look at another one
        self._wall = 0 if simulation is not None else time.time_ns() - driver.clock()

    # -- running ---------------------------------------------------------------------------------------

    def execute(self, line: str) -> int:
        """Run the commands of a line (`;` between them) until one fails; its exit status, or 0.

        Never raises for what a command does: 1 it failed, 2 it was called wrongly, 130 it was interrupted.
        """
        try:
            commands = split(line)
        except ConfigError as error:
            self.out.error(str(error))
            return USAGE
        for words in commands:
            if self.left:
                break
            status = self._run(words)
            if status:
                return status
        return 0

    def _run(self, words: list[str]) -> int:
        name = words[0]
        self._ground.begin()
        self._input.clear()
        self._hungry = self._asked = False
        try:
            entry = find(name)
            rest = [word for word in words[1:] if word not in JSON] if entry.json else words[1:]
            self.out.json = len(rest) < len(words) - 1
            if "--help" in rest:  # click would print it where the stack runs, and not to who asks
                entry, rest = find("help"), [entry.name]
            return self._call(entry.load(), entry.name, rest)
        except click.UsageError as error:
            return self._failed(f"{name}: {error.format_message().rstrip('.')} (see help {name})", USAGE)
        except ConfigError as error:
            return self._failed(f"{name}: {error}", USAGE)
        except Interrupted:
            return INTERRUPTED
        except ScapystackError as error:
            return self._failed(f"{name}: {error}", 1)
        except OSError as error:
            about = f"{error.filename}: " if error.filename else ""
            return self._failed(f"{name}: {about}{error.strerror or error}", 1)
        except Exception as error:
            log.error("%s in the command %s", error, name, exc_info=error)
            return self._failed(f"{name}: a bug of ours: {type(error).__name__}: {error}", BUG)
        finally:
            self.out.json = False

    def _call(self, command: click.Command, name: str, words: list[str]) -> int:
        try:
            with command.make_context(name, words, obj=self) as context:
                status = command.invoke(context)
        except click.exceptions.Exit as end:
            return end.exit_code
        return status if isinstance(status, int) else 0

    def _failed(self, text: str, status: int) -> int:
        self.out.error(text)
        return status

    def close(self) -> None:
        """Leave: what still shows packets ends, every socket is closed. Harmless when repeated."""
        if self.debug is not None:
            self.debug.stop()
            self.debug = None
        self.stack.close()

    # -- for commands ------------------------------------------------------------------------------------

    def net(self) -> Entered:
        """The stack under its lock: `with session.net() as net: ...`. What that produces is sent at the end."""
        return self.driver.entered()

    @property
    def now(self) -> Nanoseconds:
        """What time it is by the driver's clock."""
        return self.driver.clock()

    def wall(self, at: Nanoseconds) -> Nanoseconds:
        """A time of the driver's clock as nanoseconds since 1970."""
        return at + self._wall

    def ring(self) -> None:
        """There is something to do for the command that waits. Any thread's, under the driver's lock or not."""
        self._rung = True
        bell = self._bell
        if bell is not None:
            bell.release()

    def wait(self, until: Nanoseconds | None = None) -> bool:
        """Wait until `ring`, or until a time (None: for ever); whether it rang. Raises `Interrupted`."""
        if self._hungry and not self._asked:  # here, because nobody waits under the driver's lock
            self._asked = True
            (self.wants_keys if self._keys else self.wants_input)()
        self._bell = self._ground.waiter()
        try:
            if self._rung:
                self._ground.check()
            else:
                self._ground.wait(self._bell, until)
            return self._rung
        finally:
            self._bell = None
            self._rung = False

    def sleep(self, seconds: float) -> None:
        """Let time pass, whatever rings. Raises `Interrupted`."""
        until = self.now + round(seconds * SECOND)
        while self.now < until:
            self.wait(until)

    def input(self, *, keys: bool = False) -> bytes | None:
        """Octets that were typed or piped; b"" where there are none yet (`wait` asks for them), None at their end.

        With `keys` a terminal gives each as it is hit, unseen, else the lines that were entered.
        """
        if not self._input:
            self._hungry, self._keys = True, keys
            return b""
        first = self._input[0]
        if first is not None:
            self._input.popleft()
        return first

    def path(self, name: str) -> str:
        """The path of a file that the person named."""
        return os.path.join(self.cwd, os.path.expanduser(name))

    def iface(self, name: str) -> Interface:
        """The interface of that name. Raises ConfigError."""
        for iface in self.driver.stack.interfaces:
            if iface.name == name:
                return iface
        names = ", ".join(iface.name for iface in self.driver.stack.interfaces)
        raise ConfigError(f"there is no interface {name!r}; there is {names}")

    # -- for other threads ---------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ctrl-C: end the command that runs."""
        self._ground.interrupt()

    def end(self) -> None:
        """Nobody is there any more: what runs ends, and no other command begins to wait."""
        self.left = True
        self._ground.end()

    def resized(self, width: int, height: int) -> None:
        """The terminal has another size now."""
        self.out.resize(width, height)
        self.ring()

    def feed(self, data: bytes | None) -> None:
        """Input for the command that runs; None is its end."""
        self._hungry = self._asked = False
        self._input.append(data)
        self.ring()


def told(driver: Driver, line: str, *, simulation: Simulation | None = None) -> tuple[int, str, str]:
    """Run one line in a session of its own; its status, and what it said on either way, as text."""
    said: dict[str, list[bytes]] = {"out": [], "err": []}
    session = Session(driver, lambda way, octets: said[way].append(octets), simulation=simulation)
    try:
        status = session.execute(line)
    finally:
        session.close()
    return status, b"".join(said["out"]).decode(), b"".join(said["err"]).decode()
