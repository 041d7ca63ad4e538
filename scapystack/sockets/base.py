"""`Socket`: what stream, datagram and raw sockets have in common: time-outs, blocking, descriptor,
options, files, closing. Read `channel` first; `stream` and `datagram` are the two kinds.

Every call runs under the driver's lock through `driver.entered()`, which on the way out sends what
the call produced from the calling thread. A call that has to wait registers a waiter, leaves, sleeps
without the lock, and tries again.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from errno import EAGAIN, EBADF, ENOTCONN, EOPNOTSUPP
from operator import index
from threading import TIMEOUT_MAX
from typing import IO, TYPE_CHECKING, Any, NoReturn, Self, TypeVar, cast

from scapystack.base.addr import ANY4
from scapystack.base.errors import os_error
from scapystack.base.types import SECOND, Address, Buffer, Nanoseconds
from scapystack.sockets import constants as c
from scapystack.sockets import options as socket_options
from scapystack.sockets.address import InetAddress, text_address, unpack_address
from scapystack.sockets.channel import Channel
from scapystack.sockets.constants import AddressFamily, SocketKind
from scapystack.sockets.pollable import PollFd
from scapystack.sockets.sendfile import send_file

if TYPE_CHECKING:
    from scapystack.runtime.driver import Driver
    from scapystack.sockets.waiting import Ground, Waiter

T = TypeVar("T")


class Socket(ABC):
    """A socket of our stack with the face of `socket.socket`.

    Calls raise the standard exceptions with their errno: BlockingIOError, ConnectionRefusedError,
    ConnectionResetError, BrokenPipeError, TimeoutError (`settimeout`), OSError. Sockets may be used
    by several threads at once; closing one wakes all of them with EBADF.
    """

    def __init__(self, ground: Ground, kind: SocketKind, proto: int) -> None:
        """Not for applications: they call `Stack.socket`."""
        self._closed = False
        self._ground = ground
        self._driver = driver = ground.driver
        self._net = driver.stack
        self._kind = kind
        self._proto = proto
        self._timeout: float | None = socket.getdefaulttimeout()
        self._channel = Channel(ground.waiter)
        self._io_refs = 0
        self._close_wanted = False
        self._local: tuple[Address, int] | None = None  # what bind() asked for
        self._reuse = False
        self.look_up: Callable[[Any], str] | None = None
        """Makes an address of a host's name; without it only numeric ones are taken."""
        self._broadcast = False
        self._keepalive = False
        with driver.lock:  # `Stack.close` may be going through them
            ground.sockets.add(self)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def family(self) -> AddressFamily:
        """AF_INET."""
        return c.AF_INET

    @property
    def driver(self) -> Driver:
        """What drives the stack of this socket."""
        return self._driver

    @property
    def endpoint(self) -> Any:
        """The connection, listener or port behind the socket; None where there is none (yet)."""
        return self._channel.endpoint

    @property
    def type(self) -> SocketKind:
        """SOCK_STREAM, SOCK_DGRAM or SOCK_RAW."""
        return self._kind

    @property
    def proto(self) -> int:
        """The IP protocol number, 0 for the usual one."""
        return self._proto

    @property
    def timeout(self) -> float | None:
        """Seconds, None for ever, 0.0 for a socket that does not block."""
        return self._timeout

    def __repr__(self) -> str:
        name = f"<scapystack {type(self).__name__}"
        if self._closed:
            return f"{name} [closed]>"
        with self._driver.lock:
            local, remote = self._names()
        peer = f" raddr={text_address(*remote)}" if remote else ""
        return f"{name} laddr={text_address(*local)}{peer}>"

    # -- blocking ----------------------------------------------------------------------------------

    def settimeout(self, value: float | None) -> None:
        """How long a call may wait, in seconds; None for ever. Raises TypeError, ValueError, OverflowError, OSError."""
        if value is not None:
            value = value if isinstance(value, float) else float(index(value))
            if not value >= 0.0:
                raise ValueError("Timeout value out of range")
            if value > TIMEOUT_MAX:
                raise OverflowError("timestamp out of range for platform time_t")
        if self._closed:
            raise os_error(EBADF)
        self._timeout = value

    def gettimeout(self) -> float | None:
        """As `timeout`."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """`settimeout(None)` or `settimeout(0)`."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether calls wait at all."""
        return self._timeout != 0

    def _deadline(self) -> Nanoseconds | None:
        timeout = self._timeout
        return self._driver.clock() + int(timeout * SECOND) if timeout else None

    def _perform(
        self,
        attempt: Callable[[], T | None],
        wait_on: Callable[[Channel], Waiter],
        flags: int = 0,
        deadline: Nanoseconds | None = None,
    ) -> T:
        """Run `attempt` under the lock until it answers something else than None.

        `deadline` is for calls of several steps; None is the socket's time-out from now. Raises
        BlockingIOError where the call must not wait and TimeoutError when it has waited enough.
        """
        while True:
            with self._driver.entered():
                if self._closed:
                    raise os_error(EBADF)
                channel = self._channel
                try:
                    result = attempt()
                finally:
                    if channel.poll_fd is not None:
                        channel.refresh()
                if result is not None:
                    return result
                if self._timeout == 0 or (flags and flags & c.MSG_DONTWAIT):
                    raise os_error(EAGAIN)
                waiter = wait_on(channel)
            if deadline is None:
                deadline = self._deadline()
            self._sleep(waiter, deadline)

    def _sleep(self, waiter: Waiter, deadline: Nanoseconds | None) -> None:
        """Wait for `waiter`, without the lock. Raises TimeoutError; any signal's exception passes."""
        woken = False
        try:
            woken = self._ground.wait(waiter, deadline)
        finally:
            if not woken:
                with self._driver.lock:
                    self._channel.forget(waiter)
        if not woken:
            raise TimeoutError("timed out")

    def _at_once(self, act: Callable[[], T]) -> T:
        """Run `act`, which never waits, under the lock."""
        with self._driver.entered():
            if self._closed:
                raise os_error(EBADF)
            try:
                return act()
            finally:
                self._channel.refresh()

    # -- descriptor --------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor for `select`, `poll`, `epoll` and `selectors`; -1 once closed.

        Made at the first call and good for nothing but readiness (see `pollable`). Raises OSError
        (EMFILE).
        """
        if self._closed:
            return -1
        with self._driver.lock:
            channel = self._channel
            if channel.poll_fd is None:
                if self._closed:
                    return -1
                channel.poll_fd = PollFd()
                channel.refresh()
            return channel.poll_fd.fd

    def detach(self) -> NoReturn:
        """Always raises OSError: for `SSLContext.wrap_socket`, which owns (and closes) the descriptor by then."""
        self._at_once(self._channel.give_up_descriptor)
        raise OSError(EOPNOTSUPP, "a stack's socket cannot be detached; for TLS, wrap it inside Stack.sockets_for(...)")

    def get_inheritable(self) -> bool:
        """Whether a program that this one becomes keeps the descriptor; False. Raises OSError (EBADF)."""
        return os.get_inheritable(self.fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Of the descriptor alone; no other program can use a socket of this one's stack. Raises OSError (EBADF)."""
        os.set_inheritable(self.fileno(), inheritable)

    def hand_over(self, on_ready: Callable[[], None]) -> Any:
        """For who serves the endpoint itself, as a transport does: it is returned, and calls `on_ready` from now on.

        Names, options and `close` stay the socket's. Under the driver's lock.
        """
        endpoint = self._channel.endpoint
        endpoint.on_ready = on_ready
        return endpoint

    # -- names -------------------------------------------------------------------------------------

    def _names(self) -> tuple[tuple[Address, int], tuple[Address, int] | None]:
        """Local and remote address as they stand; the remote None where there is none."""
        endpoint = self._channel.endpoint
        if endpoint is None:
            return self._local or (ANY4, 0), None
        remote = getattr(endpoint, "remote_addr", None)
        local = (endpoint.local_addr, endpoint.local_port)
        return local, (remote, endpoint.remote_port) if remote is not None else None

    def _unpack(self, address: object) -> tuple[Address, int]:
        """`(host, port)` as the layers have it. Raises TypeError, OverflowError and gaierror."""
        if self.look_up is not None and isinstance(address, tuple) and len(address) == 2:
            address = (self.look_up(address[0]), address[1])
        return unpack_address(address)

    def getsockname(self) -> InetAddress:
        """Our address and port, `("0.0.0.0", 0)` before there is one."""
        return self._at_once(lambda: text_address(*self._names()[0]))

    def getpeername(self) -> InetAddress:
        """The peer's. Raises OSError (ENOTCONN)."""
        remote = self._at_once(lambda: self._names()[1])
        if remote is None:
            raise os_error(ENOTCONN)
        return text_address(*remote)

    # -- options -----------------------------------------------------------------------------------

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """An option as an int or, with `buflen`, as packed octets. Raises OSError (ENOPROTOOPT)."""
        return self._at_once(lambda: socket_options.read(self, level, optname, buflen))

    def setsockopt(self, level: int, optname: int, value: int | Buffer | None, optlen: int | None = None) -> None:
        """Set an option from an int or packed octets. Raises OSError (ENOPROTOOPT, EINVAL)."""
        if (value is None) != (optlen is not None):
            raise TypeError("setsockopt() takes a value, or None and its length")
        if value is None:
            value = bytes(optlen or 0)
        self._at_once(lambda: self._set(level, optname, value))

    def _set(self, level: int, optname: int, value: int | Buffer) -> None:
        socket_options.write(self, level, optname, value)
        self._channel.on_ready()  # a larger buffer may be what somebody waits for

    @abstractmethod
    def _take_error(self) -> int:
        """The pending errno, and none from now on (SO_ERROR)."""

    # -- what a kind may lack ----------------------------------------------------------------------

    def _unsupported(self) -> NoReturn:
        if self._closed:
            raise os_error(EBADF)
        raise os_error(EOPNOTSUPP)

    def listen(self, backlog: int | None = None) -> None:
        """Take connections; see `stream`. Raises OSError (EOPNOTSUPP) for the other kinds."""
        self._unsupported()

    def accept(self) -> tuple[Socket, InetAddress]:
        """The next connection; see `stream`. Raises OSError (EOPNOTSUPP) for the other kinds."""
        self._unsupported()

    @abstractmethod
    def bind(self, address: object) -> None:
        """Take a local address `(host, port)`."""

    @abstractmethod
    def connect(self, address: object) -> None:
        """Name the peer; a stream socket does the handshake."""

    def connect_ex(self, address: object) -> int:
        """`connect` that returns the errno (0 for success) instead of raising it."""
        try:
            self.connect(address)
        except TimeoutError as e:
            return e.errno or EAGAIN  # as the socket module: a time-out of settimeout() has no errno
        except OSError as e:
            if e.errno is None or isinstance(e, socket.gaierror):
                raise
            return e.errno
        return 0

    @abstractmethod
    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send, and say how many octets were taken."""

    @abstractmethod
    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Send everything; the time-out is for the whole."""

    @abstractmethod
    def _send_to(self, data: Buffer, flags: int, address: object) -> int: ...

    def sendto(self, data: Buffer, *args: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`."""
        if not 1 <= len(args) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        return self._send_to(data, args[0] if len(args) == 2 else 0, args[-1])

    def sendmsg(
        self, buffers: Iterable[Buffer], ancdata: Iterable[object] = (), flags: int = 0, address: object = None
    ) -> int:
        """Gather `buffers` and send them. Ancillary data there is none of: ValueError."""
        if list(ancdata):
            raise ValueError("no ancillary data can be sent")
        data = b"".join(buffers)
        return self.send(data, flags) if address is None else self._send_to(data, flags, address)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a file, from `offset` on, `count` octets or to its end; how many. Raises ValueError, OSError."""
        return send_file(self, file, offset, count)

    @abstractmethod
    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """Receive, and say from where (None on a stream)."""

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Receive at most `bufsize` octets; `b""` at the end of a stream."""
        return self.recvfrom(bufsize, flags)[0] if bufsize else b""  # as the socket module, which asks nobody then

    @abstractmethod
    def recvfrom_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recvfrom`, into a buffer."""

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer: at most `nbytes` (0: as many as it holds)."""
        if not memoryview(buffer).nbytes:
            return 0
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        """Octets, ancillary data (none), MSG_TRUNC where a message was cut, and from where."""
        if bufsize < 0 or ancbufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        asked = flags if self._kind == c.SOCK_STREAM else flags | c.MSG_TRUNC  # shows what would be cut
        data, address = self.recvfrom(bufsize, asked)
        return data[:bufsize], [], int(flags & c.MSG_OOB) | (int(c.MSG_TRUNC) if len(data) > bufsize else 0), address

    def recvmsg_into(
        self, buffers: Iterable[bytearray | memoryview], ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[Any], int, Any]:
        """As `recvmsg`, scattered over `buffers`; their octets counted."""
        views = [memoryview(each).cast("B") for each in buffers]
        if any(view.readonly for view in views):
            raise TypeError("recvmsg_into() takes read-write bytes-like objects")
        data, ancdata, how, address = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        at = 0
        for view in views:
            piece = data[at : at + len(view)]
            view[: len(piece)] = piece
            at += len(piece)
        return at, ancdata, how, address

    @abstractmethod
    def shutdown(self, how: int) -> None:
        """End one direction or both (SHUT_RD, SHUT_WR, SHUT_RDWR)."""

    # -- files and the end -------------------------------------------------------------------------

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file over the socket, as `socket.makefile` makes it; the socket closes after its files."""
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        writing = "w" in mode
        reading = "r" in mode or not writing
        raw = socket.SocketIO(cast(socket.socket, self), "rw" if reading and writing else "r" if reading else "w")
        self._io_refs += 1
        if buffering is None or buffering < 0:
            buffering = io.DEFAULT_BUFFER_SIZE
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return raw
        buffer: Any
        if reading and writing:
            buffer = io.BufferedRWPair(raw, raw, buffering)
        elif reading:
            buffer = io.BufferedReader(raw, buffering)
        else:
            buffer = io.BufferedWriter(raw, buffering)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline)
        text.mode = mode  # type: ignore[misc]  # as socket.makefile does
        return text

    def _decref_socketios(self) -> None:
        """A file made by `makefile` was closed (called by `socket.SocketIO`)."""
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._close_wanted:
            self.close()

    def close(self) -> None:
        """Let go of the endpoint, once the files made from the socket are closed too.

        Threads that wait on the socket get EBADF. Never raises for what the peer did.
        """
        self._close_wanted = True
        if self._io_refs == 0 and not self._closed:
            self._close()

    def close_now(self) -> None:
        """`close` without waiting for files or for SO_LINGER: the stack itself is being closed."""
        self._timeout = 0.0
        self._close()

    def _close(self) -> None:
        with self._driver.entered():
            if self._closed:
                return
            self._closed = True
            _Release(self._channel, self._held_besides())()

    def _held_besides(self) -> list[Callable[[], None]]:
        """What to call at the end to give back what the socket holds apart from its endpoint."""
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._closed:
            self.close()

    def __del__(self) -> None:
        # may run anywhere, in the middle of the core too: so only ask the driver to do it later
        if getattr(self, "_closed", True) or sys.is_finalizing():
            return
        self._closed = True
        warnings.warn(f"unclosed scapystack {type(self).__name__}", ResourceWarning, stacklevel=2, source=self)
        self._driver.call_soon(_Release(self._channel, self._held_besides()))

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")


class _Release:
    """Ends what a socket held, without holding the socket; under the lock."""

    __slots__ = ("_besides", "_channel")

    def __init__(self, channel: Channel, besides: list[Callable[[], None]]) -> None:
        self._channel = channel
        self._besides = besides

    def __call__(self) -> None:
        endpoint = self._channel.endpoint
        self._channel.close()
        if endpoint is not None:
            endpoint.close()
        for give_back in self._besides:
            give_back()
