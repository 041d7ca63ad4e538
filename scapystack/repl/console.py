"""`Console`: a session beside a running stack: its names, and Scapy's own console to use them in."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from scapy.config import conf

from scapystack.base.addr import ip_text
from scapystack.base.errors import ScapystackError
from scapystack.repl.errors import in_one_line
from scapystack.repl.home import settled
from scapystack.repl.live import Stack
from scapystack.repl.which import use

if TYPE_CHECKING:
    from scapystack.sockets import facade


class Console:
    """A context: within it Scapy's calls go through the stack, and each packet can be explained."""

    def __init__(self, stack: facade.Stack, names: dict[str, Any]) -> None:
        """`stack` is one that runs already, `names` those of `scapystack.all`."""
        self._until_end = ExitStack()
        self.stack = Stack(driver=stack.driver)
        self.names: dict[str, Any] = {name: each for name, each in names.items() if not name.startswith("__")}

    def __enter__(self) -> Self:
        use(self.stack)
        iface = self._until_end.enter_context(self.stack.scapy())
        self._until_end.callback(setattr, conf, "iface", conf.iface)
        conf.iface = iface  # sniff() and srp() without one ask this one
        self.names |= {"stack": self.stack, "iface": iface}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._until_end.close()
        self.stack.close()

    def run(self, code: str) -> int:
        """Run a program in the session; its exit status. Its own errors are shown as Python shows them.

        Raises what stacks and sockets raise: ScapystackError, OSError.
        """
        try:
            exec(compile(code, "<repl -c>", "exec"), self.names)
        except (ScapystackError, OSError):
            raise
        except Exception as error:
            here = error.__traceback__
            sys.excepthook(type(error), error.with_traceback(here and here.tb_next), error.__traceback__)
            return 1
        return 0

    def interact(self) -> None:
        """Scapy's console, until the end of input: IPython's where that is installed, else Python's own."""
        from scapy.main import interact  # noqa: PLC0415

        conf.fancy_banner = False
        print(self.banner())
        with in_one_line(), settled() as options:
            interact(mydict=self.names, argv=["scapystack repl", *options])

    def banner(self) -> str:
        """What the console says first."""
        where = ", ".join(
            f"{ip_text(entry.address)} on {each.name}"
            for each in self.stack.net.interfaces[1:]
            for entry in each.addresses
        )
        return f"scapystack: the stack is {where}. Its names: stack, iface, conns(), explain(), fork(); lsc() lists all"
