"""Stream sockets without waiting: every call, state and error, in virtual time over the loopback."""

import errno
import gc
import socket
import struct

import pytest

from scapystack.base.config import StackConfig
from tests.unit.sockets.helpers import errno_of, levels

# -- opening -------------------------------------------------------------------------------------------


def test_connect_accept_both_ends_know_both_names(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    client = still.tcp()
    client.connect(server.getsockname())
    accepted, address = server.accept()
    assert address == client.getsockname() == accepted.getpeername()
    assert client.getpeername() == accepted.getsockname() == server.getsockname()
    assert accepted.getblocking()


def test_accept_is_first_in_first_out(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    clients = [still.stack.create_connection(server.getsockname()) for _ in range(5)]
    assert [server.accept()[1] for _ in clients] == [c.getsockname() for c in clients]


def test_accept_interrupted_on_its_way_out_leaves_no_connection_that_nobody_has(still, monkeypatch):
    """A Ctrl-C inside is raised when the stack is left, and what `accept` had taken is in nobody's hands then."""
    server = still.stack.create_server(("127.0.0.1", 0))
    client = still.stack.create_connection(server.getsockname())
    leave = still.driver._leave

    def interrupted():
        leave()
        monkeypatch.undo()
        raise KeyboardInterrupt

    def accept():
        with pytest.raises(KeyboardInterrupt):
            server.accept()
        gc.collect()

    monkeypatch.setattr(still.driver, "_leave", interrupted)
    with pytest.warns(ResourceWarning, match="unclosed"):
        accept()
    still.driver.round()
    assert client.recv(1) == b""


def test_accept_nothing_there_is_blocking_io_error(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    assert levels(server) == (False, False)
    with pytest.raises(BlockingIOError):
        server.accept()
    client = still.stack.create_connection(server.getsockname())
    assert levels(server) == (True, False)
    server.accept()
    assert levels(server) == (False, False)
    client.close()


def test_connect_refused_raises_and_the_socket_can_try_again(still):
    client = still.tcp()
    with pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", 4999))
    server = still.stack.create_server(("127.0.0.1", 4999))
    client.connect(("127.0.0.1", 4999))
    assert client.getpeername() == server.getsockname()


def test_connect_ex_gives_the_errno(still):
    assert still.tcp().connect_ex(("127.0.0.1", 4999)) == errno.ECONNREFUSED
    server = still.stack.create_server(("127.0.0.1", 4999))
    sock = still.tcp()
    assert sock.connect_ex(("127.0.0.1", 4999)) == 0
    assert sock.connect_ex(("127.0.0.1", 4999)) == errno.EISCONN
    server.close()
    with pytest.raises(socket.gaierror):
        still.tcp().connect_ex(("no.such.name", 1))


def test_connect_without_a_way_is_enetunreach(still):
    assert errno_of(still.tcp().connect, ("198.51.100.1", 80)) == errno.ENETUNREACH


def test_connect_to_the_unspecified_address_is_this_host(still):
    server = still.stack.create_server(("127.0.0.1", 4999))
    client = still.tcp()
    client.connect(("", 4999))
    assert client.getpeername() == server.getsockname() == ("127.0.0.1", 4999)


@pytest.fixture
def silent(still):
    """A stack whose SYNs to 10.9.9.9 are answered by nobody."""
    iface = still.net.add_interface("void", b"\2\0\0\0\0\7")
    still.net.add_address(iface, "10.9.9.1/24")
    return still


def test_connect_non_blocking_is_einprogress_then_ealready(silent):
    client = silent.tcp()
    client.setblocking(False)
    assert client.connect_ex(("10.9.9.9", 80)) == errno.EINPROGRESS
    assert client.connect_ex(("10.9.9.9", 80)) == errno.EALREADY
    assert levels(client) == (False, False)
    assert errno_of(client.recv, 1) == errno.EAGAIN
    assert errno_of(client.send, b"x") == errno.EAGAIN
    assert errno_of(client.getpeername) == errno.ENOTCONN
    assert client.getsockname()[0] == "10.9.9.1"


def test_connect_non_blocking_that_fails_tells_by_so_error(silent):
    client = silent.tcp()
    client.setblocking(False)
    client.connect_ex(("10.9.9.9", 80))
    silent.pass_time(1000)  # nobody answers ARP, or the SYNs
    assert levels(client) == (True, True)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_connect_non_blocking_that_fails_tells_by_connect_too(silent):
    client = silent.tcp()
    client.setblocking(False)
    client.connect_ex(("10.9.9.9", 80))
    silent.pass_time(1000)
    assert client.connect_ex(("10.9.9.9", 80)) in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
    assert client.connect_ex(("10.9.9.9", 80)) == errno.EINPROGRESS  # a new attempt


def test_connect_non_blocking_over_the_loopback_is_made_at_once_and_said_once(still):
    server = still.stack.create_server(("127.0.0.1", 4999))
    client = still.tcp()
    client.setblocking(False)
    assert client.connect_ex(("127.0.0.1", 4999)) == errno.EINPROGRESS
    assert levels(client) == (False, True)
    assert client.connect_ex(("127.0.0.1", 4999)) == 0
    assert client.connect_ex(("127.0.0.1", 4999)) == errno.EISCONN
    assert levels(server) == (True, False)


def test_bind_port_zero_has_a_number_at_once_and_keeps_it(still):
    server = still.tcp()
    server.bind(("127.0.0.1", 0))
    name = server.getsockname()
    assert name[1] >= 32_768
    server.listen()
    assert server.getsockname() == name


def test_bind_conflicts_raise_their_errno(still):
    bound = still.tcp()
    bound.bind(("127.0.0.1", 4000))
    other = still.tcp()
    assert errno_of(other.bind, ("127.0.0.1", 4000)) == errno.EADDRINUSE
    assert errno_of(other.bind, ("", 4000)) == errno.EADDRINUSE
    assert errno_of(other.bind, ("192.0.2.1", 4000)) == errno.EADDRNOTAVAIL
    assert errno_of(bound.bind, ("127.0.0.1", 4001)) == errno.EINVAL
    bound.close()
    other.bind(("127.0.0.1", 4000))


def test_bind_while_an_old_connection_lingers_needs_reuseaddr(still):
    server = still.stack.create_server(("127.0.0.1", 4000))
    client = still.stack.create_connection(("127.0.0.1", 4000))
    accepted, _ = server.accept()
    accepted.close()  # the server's side ends first and stays in TIME-WAIT
    client.close()
    server.close()
    plain, reusing = still.tcp(), still.tcp()
    assert errno_of(plain.bind, ("127.0.0.1", 4000)) == errno.EADDRINUSE
    reusing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reusing.bind(("127.0.0.1", 4000))
    reusing.listen()


def test_bind_before_connect_is_the_source(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    client = still.stack.create_connection(server.getsockname(), source_address=("127.0.0.1", 4321))
    assert client.getsockname() == ("127.0.0.1", 4321)
    assert server.accept()[1] == ("127.0.0.1", 4321)


def test_listen_again_changes_the_backlog(still):
    server = still.tcp()
    server.listen(1)
    server.listen(7)
    (listener,) = still.net.tcp.listeners.values()
    assert listener.backlog == 7


def test_listen_on_a_connection_and_connect_on_a_listener_fail(still):
    client, accepted = still.connected()
    assert errno_of(client.listen) == errno.EINVAL
    server = still.stack.create_server(("127.0.0.1", 0))
    assert errno_of(server.connect, ("127.0.0.1", 1)) == errno.EISCONN
    assert errno_of(client.accept) == errno.EINVAL
    accepted.close()


def test_calls_on_an_unconnected_socket_raise_what_linux_raises(still):
    sock = still.tcp()
    assert errno_of(sock.recv, 1) == errno.ENOTCONN
    assert errno_of(sock.getpeername) == errno.ENOTCONN
    assert errno_of(sock.send, b"x") == errno.EPIPE
    assert errno_of(sock.shutdown, socket.SHUT_WR) == errno.ENOTCONN
    assert errno_of(sock.accept) == errno.EINVAL
    assert errno_of(sock.sendto, b"x", ("127.0.0.1", 1)) == errno.EPIPE


# -- data ----------------------------------------------------------------------------------------------


def test_send_recv_passes_octets_in_order(still):
    client, accepted = still.connected()
    client.sendall(b"hello ")
    client.sendall(bytearray(b"wor"))
    client.sendall(memoryview(b"xxldxx")[2:4])
    assert accepted.recv(100) == b"hello world"


def test_send_changed_buffer_is_not_what_is_sent(still):
    client, accepted = still.connected()
    data = bytearray(b"a" * 100_000)
    client.sendall(data)
    data[:] = b"b" * 100_000
    assert accepted.recv(200_000) == b"a" * 100_000


def test_send_other_formats_counts_octets(still):
    client, accepted = still.connected()
    numbers = memoryview(struct.pack("4I", 1, 2, 3, 4)).cast("I")
    assert client.send(numbers) == 16
    assert accepted.recv(100) == bytes(numbers)


def test_send_nothing_is_zero_and_recv_nothing_is_empty(still):
    client, accepted = still.connected()
    assert client.send(b"") == 0
    assert errno_of(accepted.recv, 1) == errno.EAGAIN


def unsent(still):
    (connection,) = (c for c in still.net.tcp.connections.values() if not c.passive)
    return connection.unsent


def test_send_full_buffer_is_blocking_io_error_and_levels_follow(still):
    client, accepted = still.connected()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 60_000)
    assert levels(client) == (False, True)
    total = 0
    while levels(client)[1]:
        total += client.send(bytes(50_000))
        still.pass_time(0.1)  # a delayed ACK
    while (room := client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - unsent(still)) > 0:
        total += client.send(bytes(room))
    assert errno_of(client.send, b"x") == errno.EAGAIN
    assert total > still.net.config.tcp.rcvbuf  # the peer's window and our buffer are full
    assert levels(client) == (False, False)
    assert levels(accepted)[0]
    got = 0
    while got < total:
        got += len(accepted.recv(1 << 20))
        still.pass_time(1)  # window updates
    assert got == total
    assert levels(client) == (False, True)
    assert levels(accepted) == (False, True)


def test_sendall_that_cannot_go_on_raises_and_does_not_wait(still):
    client, _ = still.connected()
    with pytest.raises(BlockingIOError):
        client.sendall(bytes(20 << 20))


def test_setsockopt_larger_buffer_makes_it_writable(still_with):
    config = StackConfig()
    config.tcp.sndbuf = 10_000
    config.tcp.rcvbuf = 10_000
    still = still_with(config)
    client, accepted = still.connected()
    while levels(client)[1]:
        client.send(bytes(5_000))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
    assert levels(client) == (False, True)
    accepted.close()


def test_recv_into_and_recvfrom_forms(still):
    client, accepted = still.connected()
    client.sendall(b"0123456789abcdef")
    buffer = bytearray(8)
    assert accepted.recv_into(buffer, 4) == 4
    assert buffer == b"0123\0\0\0\0"
    assert accepted.recv_into(memoryview(buffer)[4:]) == 4
    assert buffer == b"01234567"
    assert accepted.recvfrom(2) == (b"89", None)
    assert accepted.recvfrom_into(buffer, 2) == (2, None)
    with pytest.raises(ValueError, match="too small"):
        accepted.recv_into(buffer, 9)
    with pytest.raises(ValueError, match="negative"):
        accepted.recv(-1)


@pytest.mark.parametrize("flags", [0, socket.MSG_PEEK, socket.MSG_TRUNC])
def test_recv_into_what_cannot_be_written_raises_and_loses_nothing(still, flags):
    client, accepted = still.connected()
    client.send(b"kept")
    with pytest.raises(TypeError, match="read-write"):
        accepted.recv_into(memoryview(bytes(4)), 0, flags)
    assert accepted.recv(10) == b"kept"


def test_recv_msg_peek_leaves_the_octets(still):
    client, accepted = still.connected()
    client.sendall(b"peek")
    assert accepted.recv(2, socket.MSG_PEEK) == b"pe"
    buffer = bytearray(10)
    assert accepted.recv_into(buffer, 0, socket.MSG_PEEK) == 4
    assert accepted.recv(100) == b"peek"


def test_recv_msg_trunc_drops_octets(still):
    client, accepted = still.connected()
    client.sendall(b"0123456789")
    assert len(accepted.recv(4, socket.MSG_TRUNC)) == 4
    assert accepted.recv_into(bytearray(3), 0, socket.MSG_TRUNC) == 3
    assert accepted.recv(100) == b"789"


def test_recv_msg_waitall_non_blocking_gives_what_there_is(still):
    client, accepted = still.connected()
    client.sendall(b"abc")
    assert accepted.recv(10, socket.MSG_WAITALL) == b"abc"
    assert errno_of(accepted.recv, 10, socket.MSG_WAITALL) == errno.EAGAIN


def test_recv_msg_waitall_at_the_end_is_short(still):
    client, accepted = still.connected()
    accepted.setblocking(True)
    client.sendall(b"abc")
    client.close()
    assert accepted.recv(10, socket.MSG_WAITALL | socket.MSG_PEEK) == b"abc"
    assert accepted.recv(10, socket.MSG_WAITALL) == b"abc"
    assert accepted.recv(10, socket.MSG_WAITALL) == b""


def test_msg_oob_is_the_last_octet_out_of_line(still):
    client, accepted = still.connected()
    client.send(b"before")
    assert client.send(b"x!", socket.MSG_OOB) == 2
    client.send(b"after")
    assert accepted.recv(1, socket.MSG_OOB) == b"!"
    assert errno_of(accepted.recv, 1, socket.MSG_OOB) == errno.EINVAL
    assert accepted.recv(100) == b"beforex"  # a read stops at the mark, as Linux has it
    assert accepted.recv(100) == b"after"


def test_msg_oob_inline_stays_in_the_stream(still):
    client, accepted = still.connected()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    client.send(b"a!", socket.MSG_OOB)
    assert errno_of(accepted.recv, 1, socket.MSG_OOB) == errno.EINVAL
    assert accepted.recv(100) == b"a"  # up to the mark, as Linux has it
    assert accepted.recv(100) == b"!"


def test_sendto_on_a_connection_ignores_the_address(still):
    client, accepted = still.connected()
    assert client.sendto(b"x", ("192.0.2.1", 9)) == 1
    assert client.sendmsg([b"y", b"z"]) == 2
    assert accepted.recv(10) == b"xyz"


def test_bind_and_connect_again_after_a_failed_attempt(still):
    with still.stack.create_server(("127.0.0.1", 7)) as server:
        sock = still.tcp()
        assert errno_of(sock.connect, ("127.0.0.1", 9)) == errno.ECONNREFUSED
        sock.bind(("127.0.0.1", 5000))
        sock.connect(server.getsockname())
        assert server.accept()[1] == ("127.0.0.1", 5000)


def test_bind_to_an_address_of_others_says_so_even_when_bound(still):
    sock = still.tcp()
    sock.bind(("127.0.0.1", 5000))
    assert errno_of(sock.bind, ("10.9.9.9", 5000)) == errno.EADDRNOTAVAIL
    assert errno_of(sock.bind, ("127.0.0.1", 5001)) == errno.EINVAL


def test_connect_to_port_zero_is_refused(still):
    assert still.tcp().connect_ex(("127.0.0.1", 0)) == errno.ECONNREFUSED


def test_recv_of_nothing_asks_nobody(still):
    sock = still.tcp()
    assert sock.recv(0) == b""
    assert sock.recv_into(bytearray()) == 0
    assert errno_of(sock.recv, 1) == errno.ENOTCONN
    assert errno_of(sock.recv, 1, socket.MSG_OOB) == errno.EINVAL


def test_recvmsg_of_a_stream_has_no_address(still):
    client, accepted = still.connected()
    client.send(b"abcdef")
    assert accepted.recvmsg(2, 100, socket.MSG_PEEK) == (b"ab", [], 0, None)
    assert accepted.recvmsg(4) == (b"abcd", [], 0, None)
    assert errno_of(accepted.recvmsg_into, [bytearray(1)], 0, socket.MSG_OOB) == errno.EINVAL
    assert accepted.recvmsg_into([bytearray(1), bytearray(9)]) == (2, [], 0, None)


def test_sendfile_sends_from_where_to_where(still, tmp_path):
    client, accepted = still.connected()
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 10_000)
    client.settimeout(1)
    with path.open("rb") as file:
        assert client.sendfile(file, offset=5, count=10) == 10
        assert file.tell() == 15
        assert client.sendfile(file, offset=20_000, count=70_000) == 70_000
        assert file.read(1) == b"0"
    assert accepted.recv(200_000) == b"5678901234" + b"0123456789" * 7000


def test_sendfile_what_it_cannot_do_is_a_value_error(still, tmp_path):
    client, _ = still.connected()
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file, path.open(encoding="ascii") as text:
        with pytest.raises(ValueError, match="non-blocking"):
            client.sendfile(file)
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            still.udp().sendfile(file)
        with pytest.raises(ValueError, match="binary"):
            client.sendfile(text)
        with pytest.raises(ValueError, match="positive"):
            client.sendfile(file, count=0)
        with pytest.raises(TypeError, match="positive"):
            client.sendfile(file, count="1")
