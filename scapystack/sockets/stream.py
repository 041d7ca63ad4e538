"""`StreamSocket`: TCP through the calls of the `socket` module. Read `base` and `channel` first.

A stream socket is born with no endpoint; `listen` gives it a Listener, `connect` a Connection, and
`accept` makes a socket around a Connection that is there. An error that ended a connection is
reported once, as the kernel does: after that there is end of file to read, and a broken pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import (
    EADDRNOTAVAIL,
    EAGAIN,
    EALREADY,
    EBADF,
    ECONNABORTED,
    ECONNREFUSED,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPIPE,
)
from functools import partial
from typing import TYPE_CHECKING, Any

from scapystack.base.addr import ANY4, LOCALHOST4
from scapystack.base.errors import os_error
from scapystack.base.types import SECOND, Address, Buffer
from scapystack.layers.tcp.fastopen import CLIENT
from scapystack.layers.tcp.state import CLOSED, FIN_WAIT_2, SYN_RECEIVED, SYN_SENT, TIME_WAIT
from scapystack.layers.tcp.tcb import Options
from scapystack.sockets import constants as c
from scapystack.sockets.address import InetAddress, text_address
from scapystack.sockets.base import Socket
from scapystack.sockets.channel import Channel, connection_writable, never, readable
from scapystack.sockets.tcpinfo import pack_tcp_info

if TYPE_CHECKING:
    from scapystack.layers.tcp.listen import Listener
    from scapystack.layers.tcp.user import Connection
    from scapystack.sockets.waiting import Ground, Waiter

_FIN_ACKNOWLEDGED = frozenset((FIN_WAIT_2, TIME_WAIT, CLOSED))
_SOCKET_SETTINGS = frozenset(("reuse", "broadcast", "fastopen_connect"))  # kept here; all others are TCP's Options


class StreamSocket(Socket):
    """A TCP socket: `bind listen accept connect send recv shutdown close` and their relatives."""

    def __init__(self, ground: Ground, proto: int = 0, connection: Connection | None = None) -> None:
        """Not for applications: they call `Stack.socket`. `connection` is one that was accepted."""
        super().__init__(ground, c.SOCK_STREAM, proto)
        self._listener: Listener | None = None
        self._connection: Connection | None = None
        self._reserved = False
        self._fastopen_connect = False
        self._established = connection is not None  # connect() has reported its success
        if connection is None:
            self._options = Options.of(self._net.config.tcp)
        else:
            self._options = connection.options
            self._connection = connection
            self._channel.attach(connection, readable, connection_writable)

    # -- opening -----------------------------------------------------------------------------------

    def bind(self, address: object) -> None:
        """Take a local address. Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EINVAL (bound already)."""
        local, port = self._unpack(address)
        self._at_once(lambda: self._bind(local, port))

    def _bind(self, local: Address, port: int) -> None:
        if local != ANY4 and not self._net.ipv4.is_local(local):
            raise os_error(EADDRNOTAVAIL)
        if self._failed():  # to connect: it may try from elsewhere
            self._connection = None
            self._channel.detach()
        if self._channel.endpoint is not None or self._local is not None:
            raise os_error(EINVAL)
        self._reserved = self._reuse  # as it was at bind(), whatever is set later
        self._local = (local, self._net.tcp.reserve(local, port, reuse=self._reuse))

    def listen(self, backlog: int | None = None) -> None:
        """Take connections; `backlog` bounds those that wait for `accept` (`tcp.backlog`). Raises OSError."""
        self._at_once(lambda: self._listen(self._net.config.tcp.backlog if backlog is None else backlog))

    def _listen(self, backlog: int) -> None:
        backlog = min(max(backlog, 0), c.SOMAXCONN)
        if self._listener is not None:
            self._listener.backlog = backlog
            return
        if self._connection is not None:
            raise os_error(EINVAL)
        local, port = self._local or (ANY4, 0)
        listener = self._net.tcp.listen(local, port, backlog, reuse=self._reuse)
        listener.options = self._options
        self._listener = listener
        self._channel.attach(listener, readable, never)

    def _listening(self) -> bool:
        return self._listener is not None

    def accept(self) -> tuple[StreamSocket, InetAddress]:
        """The next connection and its peer's address. The new socket blocks."""
        return self._perform(self._accept, Channel.wait_for_read)

    def around(self, connection: Connection) -> StreamSocket:
        """A socket for a connection that this one's listener has accepted."""
        return StreamSocket(self._ground, self._proto, connection)

    def _accept(self) -> tuple[StreamSocket, InetAddress] | None:
        """Under the lock, so that a Ctrl-C behind it leaves a socket, which closes when it is collected."""
        if self._listener is None or not self._listener.open:
            raise os_error(EINVAL)
        connection = self._listener.accept()
        if connection is None:
            return None
        return self.around(connection), text_address(connection.remote_addr, connection.remote_port)

    def connect(self, address: object) -> None:
        """Open a connection and wait until it is made.

        Raises OSError: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ..., EINPROGRESS (BlockingIOError)
        where the socket must not block, EALREADY and EISCONN for a second call. With TCP_FASTOPEN_CONNECT
        it returns at once where the server's cookie is known: the SYN waits for the first `send`.
        """
        remote, port = self._unpack(address)
        deadline = self._deadline()
        self._at_once(lambda: self._begin(remote, port))
        if self._timeout != 0:
            self._perform(self.made, Channel.wait_for_write, deadline=deadline)

    def _begin(self, remote: Address, port: int) -> None:
        self._start(remote, port)
        if self._timeout == 0 and not self.made():
            raise os_error(EINPROGRESS)

    def _start(self, remote: Address, port: int, fastopen: bool = False) -> None:
        """Send the SYN; for a second call, say how the first one stands."""
        if self._listener is not None or self._established:
            raise os_error(EISCONN)
        connection = self._connection
        if connection is not None and not self._failed():
            if connection.state in (SYN_SENT, SYN_RECEIVED):
                raise os_error(EALREADY)
            return  # `made` tells the outcome
        local, local_port = self._local or (ANY4, 0)
        if not port:
            raise os_error(ECONNREFUSED)  # nobody can listen there; Linux asks, and hears this
        # connect(2): the unspecified address means this host
        connection = self._net.tcp.connect(
            LOCALHOST4 if remote == ANY4 else remote,
            port,
            local=None if local == ANY4 else local,
            local_port=local_port,
            reuse=self._reuse,
            options=self._options,
            fastopen=fastopen or self._fastopen_connect,
        )
        self._connection = connection
        self._channel.attach(connection, readable, connection_writable)

    def _failed(self) -> bool:
        """Whether there was an attempt to connect, and its error was told."""
        connection = self._connection
        return connection is not None and not self._established and connection.state == CLOSED and not connection.error

    def made(self) -> bool | None:
        """True once the handshake is done (or not begun), None while it is not. Raises what it failed with.

        Under the driver's lock.
        """
        connection = self._connection
        if connection is None or connection.state == CLOSED:
            raise os_error(self._take_error() or ECONNABORTED)
        if connection.connected or connection.deferred:
            self._established = True
            return True
        return None

    def _take_error(self) -> int:
        connection = self._connection
        if connection is None:
            return 0
        error, connection.error = connection.error, 0
        return error

    def _names(self) -> tuple[tuple[Address, int], tuple[Address, int] | None]:
        local, remote = super()._names()
        connection = self._connection
        return local, remote if connection is not None and connection.connected else None

    # -- receiving ---------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most `bufsize` octets, `b""` at the end of the stream.

        MSG_PEEK leaves them there, MSG_WAITALL waits for all of them, MSG_OOB gives the urgent
        octet, MSG_TRUNC drops them (and gives as many zeros).
        """
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if not bufsize:
            return b""  # as the socket module, which does not ask the kernel then
        if flags:  # they are enums: each look at one costs 0.5 us
            if flags & (c.MSG_OOB | c.MSG_TRUNC | c.MSG_WAITALL):
                return self._recv_special(bufsize, flags)
            if flags & c.MSG_PEEK:
                return self._perform(lambda: self._peek(bufsize), Channel.wait_for_read, flags)
        return self._perform(lambda: self._read(bufsize), Channel.wait_for_read, flags)

    def _ready(self) -> Connection | None:
        """The connection if reading it would say something: data, the end, or an error."""
        connection = self._connection
        if connection is None:
            raise os_error(ENOTCONN)
        return connection if connection.readable else None

    def _read(self, n: int) -> bytes | None:
        connection = self._ready()
        return None if connection is None else connection.read(n)

    def _peek(self, n: int) -> bytes | None:
        connection = self._ready()
        return None if connection is None else connection.peek(n)

    def _discard(self, n: int) -> int | None:
        connection = self._ready()
        return None if connection is None else connection.discard(n)

    def _read_into(self, view: memoryview) -> int | None:
        connection = self._ready()
        return None if connection is None else connection.read_into(view)

    def _recv_special(self, bufsize: int, flags: int) -> bytes:
        if flags & c.MSG_OOB:
            return self._perform(self._urgent, Channel.wait_for_read, flags)
        if flags & c.MSG_PEEK:
            least = min(bufsize, self._options.rcvbuf // 2)  # more than the window never comes
            return self._perform(lambda: self._peek_all(bufsize, least, flags), Channel.wait_for_read, flags)
        if flags & c.MSG_TRUNC:
            return bytes(self._perform(lambda: self._discard(bufsize), Channel.wait_for_read, flags))
        deadline = self._deadline()
        parts: list[bytes] = []
        missing = bufsize
        while missing:
            n = missing
            try:
                part = self._perform(lambda n=n: self._read(n), Channel.wait_for_read, flags, deadline)  # type: ignore[misc]
            except (BlockingIOError, TimeoutError):
                if parts:
                    break  # as recv(2): what came before the time was up
                raise
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _peek_all(self, bufsize: int, least: int, flags: int) -> bytes | None:
        """Peek at `bufsize` octets, once there are `least` (MSG_WAITALL)."""
        connection = self._connection
        if flags & c.MSG_WAITALL and not flags & c.MSG_DONTWAIT and self._timeout != 0 and connection is not None:
            ended = connection.fin_received or connection.rcv_shut or connection.error  # never more than now
            if connection.available < least and not ended:
                return None
        return self._peek(bufsize)

    def _urgent(self) -> bytes:
        """The urgent octet (MUST-32). Raises OSError (EINVAL) where there is none, as Linux does."""
        connection = self._connection
        if connection is None:
            raise os_error(EINVAL if self._listener is None else ENOTCONN)
        octet = connection.read_urgent()
        if octet is None:
            # announced and still on its way, or none at all
            announced = connection.oob_seq is not None and not self._options.oobinline
            raise os_error(EAGAIN if announced else EINVAL)
        return bytes((octet,))

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer; returns how many octets."""
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise TypeError(f"recv_into() takes a read-write bytes-like object, not {type(buffer).__name__}")
        if nbytes > len(view):
            raise ValueError("buffer too small for requested bytes")
        if nbytes:
            view = view[:nbytes]
        if not len(view):
            return 0
        if flags:
            if flags & c.MSG_TRUNC and not flags & c.MSG_OOB:
                return self._perform(lambda: self._discard(len(view)), Channel.wait_for_read, flags)
            if flags & (c.MSG_OOB | c.MSG_PEEK | c.MSG_WAITALL):
                data = self.recv(len(view), flags)
                view[: len(data)] = data
                return len(data)
        return self._perform(lambda: self._read_into(view), Channel.wait_for_read, flags)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, None]:
        """`recv`, and None for the address: a stream knows its peer."""
        return self.recv(bufsize, flags), None

    def recvfrom_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> tuple[int, None]:
        """`recv_into`, and None."""
        return self.recv_into(buffer, nbytes, flags), None

    # -- sending -----------------------------------------------------------------------------------

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Queue octets; returns how many were taken.

        A socket without a time-out takes all of them, as the kernel's does; one with a time-out as
        many as there is room for, at least one. Raises BrokenPipeError, ConnectionResetError, ...
        """
        if self._timeout is None and not (flags and flags & c.MSG_DONTWAIT):
            self.sendall(data, flags)
            return memoryview(data).nbytes
        octets = _octets(data)
        return self._perform(lambda: self._write(octets, flags), Channel.wait_for_write, flags)

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Queue all of `data`; the time-out is for the whole."""
        octets = _octets(data)
        deadline = self._deadline()
        total = len(octets)
        sent = self._perform(lambda: self._write(octets, flags), Channel.wait_for_write, flags, deadline)
        if sent == total:
            return
        view = memoryview(octets)
        while sent < total:
            rest = view[sent:]
            sent += self._perform(
                lambda data=rest: self._write(data, flags),  # type: ignore[misc]
                Channel.wait_for_write,
                flags,
                deadline,
            )

    def _write(self, data: Buffer, flags: int) -> int | None:
        connection = self._connection
        if connection is None:
            raise os_error(EPIPE)
        if connection.state in (SYN_SENT, SYN_RECEIVED) and not (connection.early or connection.deferred):
            return None
        taken = connection.write_urgent(data) if flags and flags & c.MSG_OOB else connection.write(data)
        return taken if taken or not len(data) else None

    def _send_to(self, data: Buffer, flags: int, address: object) -> int:
        if flags & c.MSG_FASTOPEN:
            return self._send_fast(data, flags, *self._unpack(address))
        if self._connection is None:
            _octets(data)  # raises TypeError
            raise os_error(EBADF if self._closed else EPIPE)
        return self.send(data, flags)  # send(2): the address is ignored on a connected stream

    def _send_fast(self, data: Buffer, flags: int, remote: Address, port: int) -> int:
        """MSG_FASTOPEN (RFC 7413 appendix A.1): connect, with the data in the SYN where that can be.

        Waits until the connection is made, as `connect` does. One that must not wait raises EINPROGRESS
        where no cookie is known, and nothing was taken of the data.
        """
        octets = _octets(data)
        deadline = self._deadline()
        waits = self._timeout != 0 and not flags & c.MSG_DONTWAIT
        taken = self._at_once(lambda: self._begin_fast(octets, remote, port, waits))
        if waits:
            self._perform(self.made, Channel.wait_for_write, deadline=deadline)
            rest = memoryview(octets)[taken:]
            if len(rest) and self._timeout is None:
                self.sendall(rest)
                return len(octets)
        return taken

    def _begin_fast(self, data: Buffer, remote: Address, port: int, waits: bool) -> int:
        if not self._net.config.tcp.fastopen & CLIENT:
            raise os_error(EOPNOTSUPP)
        self._start(remote, port, fastopen=True)
        self.made()
        connection = self._connection
        assert connection is not None
        if connection.deferred or waits:
            return connection.write(data)
        raise os_error(EINPROGRESS)

    # -- ending ------------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """SHUT_WR sends FIN behind what is queued; SHUT_RD ends reading here. Raises OSError."""
        self._at_once(lambda: self._shutdown(how))

    def _shutdown(self, how: int) -> None:
        if how not in (c.SHUT_RD, c.SHUT_WR, c.SHUT_RDWR):
            raise os_error(EINVAL)
        connection = self._connection
        if self._listener is not None:
            if how != c.SHUT_WR:
                self._stop_listening()
        elif connection is None or not connection.connected:
            raise os_error(ENOTCONN)
        else:
            if how != c.SHUT_RD:
                connection.shutdown_write()
            if how != c.SHUT_WR:
                connection.shutdown_read()
        self._channel.wake()

    def _stop_listening(self) -> None:
        """As in Linux: accept() fails from now on in every thread, a selector reports it, and listen() may follow."""
        assert self._listener is not None
        self._listener.close()
        self._listener = None
        self._channel.detach()

    def _close(self) -> None:
        linger = self._options.linger_s
        waiter: Waiter | None = None
        with self._driver.entered():
            connection = self._connection
            super()._close()
            if linger and connection is not None and self._timeout != 0 and connection.state not in _FIN_ACKNOWLEDGED:
                waiter = self._ground.waiter()
                connection.on_ready = _Linger(connection, waiter)
        if waiter is not None:
            # SO_LINGER: until the peer has acknowledged everything, FIN too, or the time is up
            self._ground.wait(waiter, self._driver.clock() + int((linger or 0) * SECOND))

    def _held_besides(self) -> list[Callable[[], None]]:
        if self._local is None:
            return []
        return [partial(self._net.tcp.unreserve, *self._local, reuse=self._reserved)]

    # -- options -----------------------------------------------------------------------------------

    def _protocol(self) -> int:
        return c.IPPROTO_TCP

    def _tcp_info(self) -> bytes:
        info = None if self._connection is None else self._connection.info()
        return pack_tcp_info(info, self._listener)

    def _read_setting(self, name: str) -> Any:
        if name == "hdrincl":
            return False
        return getattr(self, "_" + name) if name in _SOCKET_SETTINGS else getattr(self._options, name)

    def _write_setting(self, name: str, value: Any) -> None:
        if name == "hdrincl":
            raise os_error(ENOPROTOOPT)
        if name in _SOCKET_SETTINGS:
            setattr(self, "_" + name, value)
            return
        setattr(self._options, name, value)
        if self._connection is not None:
            self._connection.options_changed()


class _Linger:
    """Lets the closing thread go on once the peer has acknowledged our FIN."""

    __slots__ = ("_connection", "_waiter")

    def __init__(self, connection: Connection, waiter: Waiter) -> None:
        self._connection = connection
        self._waiter = waiter

    def __call__(self) -> None:
        if self._connection.state in _FIN_ACKNOWLEDGED:
            self._connection.on_ready = None
            self._waiter.release()


def _octets(data: Buffer) -> Buffer:
    """`data` as something whose length counts octets. `bytes` pass as they are."""
    if type(data) is bytes:
        return data
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
