"""UDP sockets: names, messages, flags, errors, groups; all in virtual time over the loopback."""

import errno
import socket
import struct

import pytest

from scapystack.link.memory import MemoryLink
from tests.unit.sockets.helpers import errno_of, levels


@pytest.fixture
def pair(still):
    """A bound socket and one connected to it."""
    a, b = still.udp(), still.udp()
    a.bind(("127.0.0.1", 5000))
    b.connect(("127.0.0.1", 5000))
    a.setblocking(False)
    b.setblocking(False)
    return a, b


def test_sendto_bound_socket_receives_data_and_sender(still, pair):
    a, _ = pair
    c = still.udp()
    assert c.sendto(b"hello", ("127.0.0.1", 5000)) == 5
    data, sender = a.recvfrom(100)
    assert data == b"hello"
    assert sender == ("127.0.0.1", c.getsockname()[1])


def test_sendto_with_flags_takes_them_in_the_middle(still, pair):
    a, _ = pair
    still.udp().sendto(b"x", socket.MSG_NOSIGNAL, ("127.0.0.1", 5000))
    assert a.recv(10) == b"x"


def test_connected_pair_talks_both_ways_and_knows_its_names(pair):
    a, b = pair
    assert b.getpeername() == ("127.0.0.1", 5000)
    b.send(b"ask")
    data, sender = a.recvfrom(10)
    assert sender == b.getsockname()
    a.sendto(b"answer", sender)
    assert (data, b.recv(10)) == (b"ask", b"answer")


def test_messages_keep_their_bounds_and_an_empty_one_counts(pair):
    a, b = pair
    for message in (b"1", b"", b"333"):
        b.send(message)
    assert [a.recv(10) for _ in range(3)] == [b"1", b"", b"333"]


def test_recv_shorter_buffer_cuts_and_drops_the_rest(pair):
    a, b = pair
    b.send(b"0123456789")
    b.send(b"next")
    assert a.recv(4) == b"0123"
    assert a.recv(10) == b"next"


def test_recv_msg_trunc_gives_the_whole_length(pair):
    a, b = pair
    b.send(b"0123456789")
    b.send(b"0123456789")
    assert len(a.recv(4, socket.MSG_TRUNC)) == 10
    buffer = bytearray(4)
    assert a.recv_into(buffer, 0, socket.MSG_TRUNC) == 10
    assert buffer == b"0123"


def test_recv_msg_peek_leaves_the_message(pair):
    a, b = pair
    b.send(b"once")
    b.send(b"twice")
    assert a.recv(10, socket.MSG_PEEK) == b"once"
    assert a.recv(2, socket.MSG_PEEK) == b"on"
    assert levels(a) == (True, True)
    assert a.recv(10) == b"once"
    assert a.recv(10) == b"twice"
    assert levels(a) == (False, True)


def test_recvfrom_into_fills_and_names_the_sender(pair):
    a, b = pair
    b.send(b"abc")
    buffer = bytearray(b"......")
    assert a.recvfrom_into(buffer, 5) == (3, b.getsockname())
    assert buffer == b"abc..."
    with pytest.raises(ValueError, match="greater than"):
        a.recvfrom_into(buffer, 7)


def test_recvfrom_into_what_cannot_be_written_raises_and_loses_nothing(pair):
    a, b = pair
    b.send(b"kept")
    with pytest.raises(TypeError, match="read-write"):
        a.recvfrom_into(bytes(4))
    assert a.recv(10) == b"kept"


def test_sendmsg_gathers_its_buffers(pair):
    a, b = pair
    assert b.sendmsg([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == 6
    assert a.recv(10) == b"abcdef"
    with pytest.raises(ValueError, match="ancillary"):
        b.sendmsg([b"x"], [(1, 2, b"")])


def test_recv_nothing_there_is_blocking_io_error(pair):
    with pytest.raises(BlockingIOError) as caught:
        pair[0].recv(1)
    assert caught.value.errno == errno.EAGAIN


def test_recv_msg_dontwait_on_a_blocking_socket_does_not_wait(pair):
    pair[0].setblocking(True)
    with pytest.raises(BlockingIOError):
        pair[0].recv(1, socket.MSG_DONTWAIT)


def test_send_to_a_closed_port_is_refused_once_on_a_connected_socket(still):
    sock = still.udp()
    sock.connect(("127.0.0.1", 4999))
    sock.setblocking(False)
    sock.send(b"x")
    assert levels(sock) == (True, True)
    with pytest.raises(ConnectionRefusedError):
        sock.recv(1)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    sock.send(b"x")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_sendto_to_a_closed_port_unconnected_socket_hears_nothing(still):
    sock = still.udp()
    sock.setblocking(False)
    sock.sendto(b"x", ("127.0.0.1", 4999))
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_bind_port_zero_takes_a_free_one_and_getsockname_says_it(still):
    sock = still.udp()
    assert sock.getsockname() == ("0.0.0.0", 0)
    sock.bind(("", 0))
    host, port = sock.getsockname()
    assert host == "0.0.0.0"
    assert 32_768 <= port <= 60_999


def test_bind_wrong_addresses_raise_their_errno(still):
    first, second = still.udp(), still.udp()
    first.bind(("127.0.0.1", 5001))
    assert errno_of(second.bind, ("127.0.0.1", 5001)) == errno.EADDRINUSE
    assert errno_of(second.bind, ("192.0.2.1", 5001)) == errno.EADDRNOTAVAIL
    assert errno_of(first.bind, ("127.0.0.1", 5002)) == errno.EINVAL


def test_bind_same_port_with_reuseaddr_on_both_is_shared(still):
    first, second = still.udp(), still.udp()
    for sock in (first, second):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 5001))
    assert second.getsockname() == ("127.0.0.1", 5001)


def test_send_wrong_messages_raise_their_errno(still):
    sock = still.udp()
    assert errno_of(sock.send, b"x") == errno.EDESTADDRREQ
    assert errno_of(sock.sendto, b"x", ("127.0.0.1", 0)) == errno.EINVAL
    assert errno_of(sock.sendto, bytes(65_508), ("127.0.0.1", 9)) == errno.EMSGSIZE
    assert errno_of(sock.sendto, b"x", ("198.51.100.1", 9)) == errno.ENETUNREACH


def test_sendto_wrong_number_of_arguments_is_type_error(still):
    with pytest.raises(TypeError):
        still.udp().sendto(b"x")
    with pytest.raises(TypeError):
        still.udp().sendto(b"x", 0, ("127.0.0.1", 9), 1)


def test_getpeername_unconnected_is_enotconn(still):
    assert errno_of(still.udp().getpeername) == errno.ENOTCONN


def test_stream_calls_on_a_datagram_socket_are_eopnotsupp(still):
    sock = still.udp()
    assert errno_of(sock.listen) == errno.EOPNOTSUPP
    assert errno_of(sock.accept) == errno.EOPNOTSUPP


def test_shutdown_read_ends_a_blocked_reader_with_nothing(pair):
    a, b = pair
    assert errno_of(a.shutdown, socket.SHUT_RD) == errno.ENOTCONN
    b.shutdown(socket.SHUT_RD)
    assert b.recv(10) == b""
    b.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        b.send(b"x")
    assert errno_of(b.shutdown, 7) == errno.EINVAL


def test_closed_socket_raises_ebadf_from_every_call(still):
    sock = still.udp()
    sock.bind(("127.0.0.1", 5003))
    sock.close()
    sock.close()
    assert sock.fileno() == -1
    for call, args in (
        (sock.recv, (1,)),
        (sock.sendto, (b"x", ("127.0.0.1", 9))),
        (sock.getsockname, ()),
        (sock.connect, (("127.0.0.1", 9),)),
        (sock.accept, ()),
        (sock.getsockopt, (socket.SOL_SOCKET, socket.SO_ERROR)),
    ):
        assert errno_of(call, *args) == errno.EBADF
    still.udp().bind(("127.0.0.1", 5003))  # the port is free again


def test_multicast_member_receives_until_it_leaves(still):
    group = "224.0.0.251"
    member, other, sender = still.udp(), still.udp(), still.udp()
    for sock in (member, other):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", 5353))
    mreq = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
    lo = still.net.interfaces[0]
    still.net.add_route("224.0.0.0/4", iface=lo)
    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
    other.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
    assert lo.multicast_groups == {socket.inet_aton(group)}
    assert errno_of(member.setsockopt, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq) == errno.EADDRINUSE
    member.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq)
    assert lo.multicast_groups == {socket.inet_aton(group)}  # the other one is still in it
    assert errno_of(member.setsockopt, socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq) == errno.EADDRNOTAVAIL
    other.close()
    assert lo.multicast_groups == set()
    sender.close()


def test_multicast_member_closes_after_its_interface_was_taken_away(still):
    """A membership that went with it is none to give back, and no reason to keep the others."""
    link, _ = MemoryLink.pair()
    gone = still.stack.attach(link, "10.0.0.1/24")
    lo = still.net.interfaces[0]
    member = still.udp()
    for group, ours in (("224.0.0.251", "10.0.0.1"), ("224.0.0.252", "127.0.0.1")):
        mreq = socket.inet_aton(group) + socket.inet_aton(ours)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
    still.driver.detach(link)
    member.close()
    assert lo.multicast_groups == set()
    assert gone not in still.net.interfaces


def test_multicast_membership_of_wrong_shape_raises_its_errno(still):
    sock = still.udp()

    def join(data):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, data)

    assert errno_of(join, b"\xe0\0\0") == errno.EINVAL
    assert errno_of(join, 1) == errno.EINVAL
    assert errno_of(join, socket.inet_aton("10.0.0.1") + bytes(4)) == errno.EINVAL
    assert errno_of(join, socket.inet_aton("224.1.1.1") + socket.inet_aton("10.9.9.9")) == errno.ENODEV


def test_options_set_before_bind_reach_the_endpoint(still):
    sock = still.udp()
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)
    sock.bind(("127.0.0.1", 5004))
    (endpoint,) = still.net.udp.endpoints
    assert (endpoint.ttl, endpoint.tos, endpoint.broadcast, endpoint.rcvbuf) == (9, 0x10, True, 5000)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 10)
    assert endpoint.ttl == 10
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 10


def test_linger_on_datagrams_reads_back(still):
    sock = still.udp()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 3)


def test_select_unbound_socket_is_not_readable(still):
    assert levels(still.udp()) == (False, True)


def test_recv_of_nothing_takes_no_message(pair):
    right, left = pair
    left.send(b"whole")
    assert right.recv(0) == b""
    assert right.recv_into(bytearray()) == 0
    assert right.recv(10) == b"whole"


def test_recv_unbound_socket_stays_so_and_can_be_bound(still):
    sock = still.udp()
    sock.setblocking(False)
    assert errno_of(sock.recv, 1) == errno.EAGAIN
    sock.bind(("127.0.0.1", 5000))
    assert sock.getsockname() == ("127.0.0.1", 5000)


def test_shutdown_unconnected_socket_raises_and_yet_ends_reading_behind_what_came(still):
    sock, peer = still.udp(), still.udp()
    sock.bind(("127.0.0.1", 5000))
    peer.sendto(b"before", ("", 5000))  # this host
    assert errno_of(sock.shutdown, socket.SHUT_RDWR) == errno.ENOTCONN
    assert sock.recv(10) == b"before"
    assert levels(sock)[0]
    assert sock.recv(10) == b""
    assert errno_of(sock.sendto, b"x", ("127.0.0.1", 5001)) == errno.EPIPE


def test_recvmsg_says_what_was_cut_and_fills_buffers_in_turn(pair):
    right, left = pair
    left.send(b"abcdef")
    left.send(b"abcdef")
    name = left.getsockname()
    assert right.recvmsg(4) == (b"abcd", [], socket.MSG_TRUNC, name)
    first, second = bytearray(2), bytearray(6)
    assert right.recvmsg_into([first, second]) == (6, [], 0, name)
    assert (first, second) == (b"ab", b"cdef\0\0")
    with pytest.raises(ValueError, match="negative"):
        right.recvmsg(-1)
    with pytest.raises(TypeError, match="read-write"):
        right.recvmsg_into([b"abc"])


def test_urgent_data_is_a_streams_alone(pair):
    right, left = pair
    assert errno_of(left.send, b"x", socket.MSG_OOB) == errno.EOPNOTSUPP
    left.send(b"x")
    assert right.recv(1, socket.MSG_OOB) == b"x"  # as Linux, which takes no notice of it


def test_send_a_number_is_a_type_error_and_sends_nothing(pair):
    receiver, sender = pair
    for call in (lambda: sender.send(5), lambda: sender.sendto(5, receiver.getsockname())):
        with pytest.raises(TypeError, match="bytes-like"):
            call()
    receiver.setblocking(False)
    assert errno_of(receiver.recv, 10) == errno.EAGAIN
