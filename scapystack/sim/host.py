"""`Host`: a stack of a simulated network, with the calls of `Stack`, and `App`: a program that runs on one.

A program is plain blocking code (`recv`, `accept`, `sleep` let the rest of the network go on) or a coroutine.
Read `network` first.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from scapystack.base.addr import ip_text
from scapystack.base.config import StackConfig
from scapystack.base.types import SECOND
from scapystack.runtime.tasks import Task
from scapystack.sockets.facade import Stack
from scapystack.stack import NetStack

if TYPE_CHECKING:
    from scapystack.base.codec import Codec
    from scapystack.sim.link import End
    from scapystack.sim.network import Network

Settings = StackConfig | Mapping[str, Any] | None
"""A configuration, or what differs from the defaults: `{"tcp.sack": False}`."""


def config_of(settings: Settings) -> StackConfig:
    """The configuration that `settings` means, the host's own. Raises ConfigError for what there is not."""
    if isinstance(settings, StackConfig):
        return deepcopy(settings)
    config = StackConfig()
    for name, value in (settings or {}).items():
        config.set(name, str(value))
    return config


class App:
    """A program on a host. `run` of the network raises what it raises, when it raises it."""

    def __init__(self, host: Host, task: Task) -> None:
        self.host = host
        self.task = task

    @property
    def name(self) -> str:
        """Of the program's function."""
        return self.task.name

    @property
    def done(self) -> bool:
        """Whether it has returned."""
        return self.task.done

    def result(self) -> Any:
        """What it returned; waits for that. Raises OSError (EDEADLK) if it never will, and what it raised."""
        self.host.network.simulation.wait(self.task.ended)
        if self.task.error is not None:
            raise self.task.error
        return self.task.result

    def where(self) -> str:
        """The line of the program that it is at, while it waits (`client.py:12 in talk`); else empty."""
        frame = self.task.frame
        while frame is not None:
            code = frame.f_code
            if not code.co_filename.startswith(_NOT_THE_PROGRAM):
                return f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} in {code.co_name}"
            frame = frame.f_back
        return ""

    def __repr__(self) -> str:
        where = self.where()
        return f"<App {self.name} on {self.host.name} {'done' if self.done else where or 'not begun'}>"


_NOT_THE_PROGRAM = (__file__.rpartition("/sim/")[0] + "/", threading.__file__.rpartition("/")[0] + "/")
"""Files below these are the framework's and the standard library's."""


class Host(Stack):
    """A host, made by `Network.host` or `Network.router`. Everything that `Stack` has works here in virtual time."""

    def __init__(
        self, network: Network, name: str, settings: Settings, seed: bytes, codec: str | Codec, router: bool
    ) -> None:
        config = config_of(settings)
        config.ip.forward = config.ip.forward or router
        self.network = network
        self.name = name
        self.router = router
        self.ends: list[End] = []
        simulation = network.simulation
        driver = simulation.add(NetStack(config, seed=seed, codec=codec))
        super().__init__(driver=driver, simulation=simulation)

    @property
    def address(self) -> str:
        """Its first address that is not the loopback's. Raises LookupError while it is on no link."""
        for iface in self.net.interfaces[1:]:
            primary = iface.primary()
            if primary is not None:
                return ip_text(primary)
        raise LookupError(f"{self.name} has no address yet: put it on a link")

    def join(self, end: End, address: str | None) -> None:
        """Meet a link there, under an address. (`Network.link` calls it.)"""
        self.ends.append(end)
        iface = self.attach(end)
        if address is not None:
            with self.driver.entered() as net:
                net.add_address(iface, address)

    def spawn(self, call: Callable[..., Any], *arguments: Any, at: float | None = None) -> App:
        """Run `call(host, *arguments)` as a program, from now on or from a time (s) on.

        A coroutine function runs in an event loop of its own; `host.asyncio()` has what asyncio's streams have.
        """
        simulation = self.network.simulation

        def program() -> Any:
            if at is not None:
                simulation.wait(simulation.waiter(), self.network.at_ns(at))
            if inspect.iscoroutinefunction(call):
                from scapystack.runtime.virtualloop import run_coroutine  # noqa: PLC0415  # with asyncio, 60 ms

                return run_coroutine(simulation, lambda: call(self, *arguments))
            return call(self, *arguments)

        app = App(self, simulation.start(program, getattr(call, "__name__", type(call).__name__)))
        self.network.apps.append(app)
        return app

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        self.network.simulation.sleep(round(seconds * SECOND))

    def __repr__(self) -> str:
        return f"<{'Router' if self.router else 'Host'} {self.name}>"
