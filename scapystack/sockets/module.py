"""`SocketModule`: a stand-in for the `socket` module whose sockets are a stack's.

    with stack.sockets_for(scapy.layers.http):      # what that module opens runs over the stack
        HTTP_Client().request("http://10.0.0.2/")
    scapystack exec -- python app.py                # a whole program

AF_INET sockets are the stack's; what the stack has not (AF_UNIX, a descriptor of the program's own) stays the
kernel's, and there is no IPv6. Names are looked up as on this machine: the stack has no name service. Constants and
errors are the real ones. Read `base.Socket` for what the sockets promise.
"""

from __future__ import annotations

import contextlib
import socket as real
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scapystack.sockets.address import resolve
from scapystack.sockets.base import Socket

if TYPE_CHECKING:
    from scapystack.sockets.facade import Stack

_WHOLE = object()
_REPLACED = (
    "socket", "SocketType", "create_connection", "create_server", "getaddrinfo", "gethostbyname", "has_ipv6",
    "has_dualstack_ipv6",
)  # fmt: skip
_OURS = frozenset(("scapystack", "scapy", "pyroute2", "socket", "ssl", "__main__"))


class _SocketClass(type):
    """`socket` of the stand-in: called, it makes a socket; asked, a stack's and a kernel's sockets are its own."""

    module: SocketModule

    def __call__(cls, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> Any:
        if fileno is not None or family not in (-1, real.AF_INET):
            if family == real.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            return real.socket(family, type, proto, fileno)
        kind = real.SOCK_STREAM if type == -1 else type
        return cls.module.open(real.AF_INET, kind, 0 if proto == -1 else proto)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Socket | real.socket)


class SocketModule(ModuleType):
    """Made by `Stack.socket_module`. What is not named here is the `socket` module's own."""

    has_ipv6 = False

    def __init__(self, stack: Stack) -> None:
        super().__init__("socket", real.__doc__)
        self.stack = stack
        self.socket = self.SocketType = _SocketClass("socket", (), {"module": self})

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)

    def __dir__(self) -> list[str]:
        return dir(real)

    def open(self, family: int, kind: int, proto: int) -> Socket:
        """A socket of the stack that takes names of hosts as well."""
        made = self.stack.socket(family, kind, proto)
        made.look_up = self._look_up
        return made

    def create_connection(
        self, address: tuple[str, int], timeout: Any = _WHOLE, source_address: Any = None, *, all_errors: bool = False
    ) -> Socket:
        """As `socket.create_connection`: each address of the host is tried. Raises OSError."""
        errors: list[OSError] = []
        for family, kind, proto, _, where in self.getaddrinfo(*address, 0, real.SOCK_STREAM):
            sock = self.open(family, kind, proto)
            try:
                if timeout is not _WHOLE and timeout is not real._GLOBAL_DEFAULT_TIMEOUT:  # type: ignore[attr-defined]
                    sock.settimeout(timeout)
                if source_address:
                    sock.bind(source_address)
                sock.connect(where)
                return sock
            except OSError as error:
                errors.append(error)
                sock.close()
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[0]

    def create_server(self, address: tuple[str, int], **how: Any) -> Socket:
        """As `Stack.create_server`."""
        return self.stack.create_server(address, **how)

    def has_dualstack_ipv6(self) -> bool:
        """Never."""
        return False

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple[Any, ...]]:
        """As `socket.getaddrinfo`, IPv4 alone. Raises gaierror."""
        if family not in (real.AF_UNSPEC, real.AF_INET):
            raise real.gaierror(real.EAI_FAMILY, "ai_family not supported")
        return real.getaddrinfo(host, port, real.AF_INET, type, proto, flags)

    def gethostbyname(self, hostname: str) -> str:
        """As `socket.gethostbyname`."""
        return real.gethostbyname(hostname)

    def _look_up(self, host: Any) -> str:
        """A host's first address. Raises gaierror."""
        with contextlib.suppress(real.gaierror):
            resolve(host)
            return str(host)
        return real.gethostbyname(host)


@contextlib.contextmanager
def standing_in(stand_in: SocketModule, *modules: ModuleType) -> Iterator[SocketModule]:
    """Put the stand-in where modules have the socket module, or names that they imported from there.

    Raises ValueError for one that has neither.
    """
    before = [(module, name, value) for module in modules for name, value in _uses(module)]
    for module in modules:
        if not any(module is each for each, _, _ in before):
            raise ValueError(f"{module.__name__} does not use the socket module")
    from scapystack.sockets.twin import wrapped_by_ssl  # noqa: PLC0415 - with ssl

    for module, name, value in before:
        setattr(module, name, stand_in if value is real else getattr(stand_in, name))
    try:
        with wrapped_by_ssl():
            yield stand_in
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _uses(module: ModuleType) -> list[tuple[str, Any]]:
    """The names under which a module has what the stand-in replaces, and what is there now."""
    names = list(vars(module).items())
    return [
        (name, value)
        for name, value in names
        if value is real or (name in _REPLACED and value is getattr(real, name, real))
    ]


@contextlib.contextmanager
def everywhere(stand_in: SocketModule) -> Iterator[SocketModule]:
    """Put the stand-in in the place of the socket module for the whole process, but for what runs the stack."""
    import ssl  # noqa: F401, PLC0415 - has its sockets made of the kernel's: it must see the real module first

    users = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in _OURS and isinstance(module, ModuleType) and _uses(module)
    ]
    with standing_in(stand_in, *users):
        sys.modules["socket"] = stand_in
        try:
            yield stand_in
        finally:
            sys.modules["socket"] = real
