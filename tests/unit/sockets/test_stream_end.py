"""Stream sockets at their end: half-close, reset, linger, forgotten; and what else they are."""

import errno
import os
import pickle
import selectors
import socket
import struct

import pytest

from scapystack.layers.tcp import state as st
from tests.unit.sockets.helpers import errno_of, levels


def test_shutdown_write_is_end_of_file_and_the_other_way_stays_open(still):
    client, accepted = still.connected()
    client.sendall(b"last")
    client.shutdown(socket.SHUT_WR)
    assert accepted.recv(10) == b"last"
    assert accepted.recv(10) == b""
    assert levels(accepted) == (True, True)
    assert errno_of(client.send, b"x") == errno.EPIPE
    accepted.sendall(b"answer")
    assert client.recv(10) == b"answer"
    accepted.close()
    assert client.recv(10) == b""


def test_shutdown_read_reads_nothing_more(still):
    client, accepted = still.connected()
    client.sendall(b"unread")
    accepted.shutdown(socket.SHUT_RD)
    assert accepted.recv(10) == b""
    accepted.sendall(b"still writes")
    assert client.recv(20) == b"still writes"


def test_shutdown_wrong_argument_is_einval(still):
    client, _ = still.connected()
    assert errno_of(client.shutdown, 9) == errno.EINVAL


def test_close_sends_fin_and_the_peer_reads_the_end(still):
    client, accepted = still.connected()
    client.sendall(b"all of it")
    client.close()
    assert accepted.recv(100) == b"all of it"
    assert accepted.recv(100) == b""
    assert client.fileno() == -1
    assert repr(client) == "<scapystack StreamSocket [closed]>"


def test_close_with_unread_data_resets_the_peer_once(still):
    client, accepted = still.connected()
    client.sendall(b"nobody reads this")
    accepted.close()
    assert levels(client) == (True, True)
    assert errno_of(client.recv, 1) == errno.ECONNRESET
    assert client.recv(1) == b""
    assert errno_of(client.send, b"x") == errno.EPIPE


def test_reset_pending_error_is_so_error_or_the_next_send(still):
    client, accepted = still.connected()
    client.sendall(b"unread")
    accepted.close()
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert client.recv(1) == b""
    client, accepted = still.connected()
    client.sendall(b"unread")
    accepted.close()
    assert errno_of(client.send, b"x") == errno.ECONNRESET
    assert errno_of(client.send, b"x") == errno.EPIPE


def test_reset_what_came_before_is_still_read(still):
    client, accepted = still.connected()
    accepted.sendall(b"in time")
    client.sendall(b"unread")
    accepted.close()
    assert client.recv(100) == b"in time"
    assert errno_of(client.recv, 1) == errno.ECONNRESET


def test_linger_zero_aborts(still):
    client, accepted = still.connected()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert errno_of(accepted.recv, 1) == errno.ECONNRESET


def test_close_of_a_listener_resets_what_waits(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    client = still.stack.create_connection(server.getsockname())
    server.close()
    assert errno_of(client.recv, 1) == errno.ECONNRESET
    assert not still.net.tcp.listeners


def test_shutdown_of_a_listener_ends_accept(still):
    server = still.stack.create_server(("127.0.0.1", 0))
    server.shutdown(socket.SHUT_RD)
    assert errno_of(server.accept) == errno.EINVAL


def test_closed_socket_raises_ebadf(still):
    client, _ = still.connected()
    client.close()
    client.close()
    for call, args in ((client.recv, (1,)), (client.send, (b"x",)), (client.shutdown, (1,)), (client.listen, ())):
        assert errno_of(call, *args) == errno.EBADF


def test_forgotten_socket_warns_and_its_connection_is_closed(still):
    client, accepted = still.connected()
    names = [client]
    del client
    with pytest.warns(ResourceWarning, match="unclosed"):
        names.clear()
    still.driver.round()
    assert accepted.recv(1) == b""


def test_forgotten_bound_socket_gives_its_port_back(still):
    names = [still.tcp()]
    names[0].bind(("127.0.0.1", 4000))
    with pytest.warns(ResourceWarning, match="unclosed"):
        names.clear()
    still.driver.round()
    still.tcp().bind(("127.0.0.1", 4000))


def test_context_manager_closes(still):
    client, accepted = still.connected()
    with client as same:
        assert same is client
    assert accepted.recv(1) == b""


# -- the rest ------------------------------------------------------------------------------------------


def test_timeouts_as_the_socket_module_has_them(still):
    sock = still.tcp()
    assert sock.gettimeout() is None
    assert sock.getblocking()
    sock.settimeout(1.5)
    assert sock.timeout == 1.5
    assert sock.getblocking()
    sock.setblocking(False)
    assert sock.gettimeout() == 0.0
    assert not sock.getblocking()
    sock.settimeout(None)
    assert sock.getblocking()
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="out of range"):
            sock.settimeout(wrong)
    with pytest.raises(TypeError):
        sock.settimeout("1")


def test_repr_names_both_ends(still):
    client, accepted = still.connected()
    assert f"laddr={client.getsockname()}" in repr(client)
    assert f"raddr={accepted.getsockname()}" in repr(client)


def test_socket_cannot_be_pickled(still):
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(still.tcp())


def test_selectors_sees_the_socket_by_its_descriptor(still):
    client, accepted = still.connected()
    with selectors.DefaultSelector() as selector:
        selector.register(accepted, selectors.EVENT_READ, "a")
        assert selector.select(0) == []
        client.send(b"x")
        assert [key.data for key, _ in selector.select(0)] == ["a"]
        accepted.recv(1)
        assert selector.select(0) == []


def test_fileno_is_made_once_and_given_back(still):
    client, _ = still.connected()
    before = len(os.listdir("/proc/self/fd"))
    fd = client.fileno()
    assert client.fileno() == fd
    assert len(os.listdir("/proc/self/fd")) == before + 2
    client.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_time_wait_follows_an_active_close(still):
    client, accepted = still.connected()
    client.close()
    accepted.close()
    states = [c.state for c in still.net.tcp.connections.values()]
    assert states == [st.TIME_WAIT]
    still.pass_time(61)
    assert not still.net.tcp.connections


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_settimeout_longer_than_any_clock_is_refused_at_once(still, seconds):
    with still.tcp() as sock:
        with pytest.raises(OverflowError, match="out of range"):
            sock.settimeout(seconds)
        assert sock.gettimeout() is None


def test_shutdown_of_a_listener_shows_in_select_and_listen_may_follow(still):
    server = still.stack.create_server(("127.0.0.1", 5000))
    assert levels(server) == (False, False)
    server.shutdown(socket.SHUT_WR)
    assert still.stack.create_connection(("127.0.0.1", 5000))
    server.shutdown(socket.SHUT_RD)
    assert levels(server) == (True, True)
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    assert errno_of(server.shutdown, socket.SHUT_RD) == errno.ENOTCONN
    server.listen()
    assert server.getsockname() == ("127.0.0.1", 5000)
    assert still.stack.create_connection(("127.0.0.1", 5000))
    assert levels(server) == (True, False)


def test_time_out_of_a_closed_socket_is_ebadf(still):
    sock = still.tcp()
    sock.close()
    for call in (sock.settimeout, sock.setblocking):
        assert errno_of(call, 1) == errno.EBADF
    assert errno_of(sock.sendto, b"x", ("127.0.0.1", 7)) == errno.EBADF


def test_descriptor_is_not_inherited_unless_asked(still):
    sock = still.tcp()
    assert not sock.get_inheritable()
    sock.set_inheritable(True)
    assert sock.get_inheritable()


def test_detach_says_what_to_do_and_leaves_the_descriptor_to_who_has_it(still):
    client, _ = still.connected()
    fd = client.fileno()  # as SSLContext.wrap_socket, which makes a socket around it and then detaches ours
    with pytest.raises(OSError, match="sockets_for"):
        client.detach()
    assert levels(client) == (False, True)
    assert client.fileno() != fd
    client.close()
    os.close(fd)
