"""The socket API against the kernel's own: each side is `socket` to the other, and both must agree.

Bulk transfers, crowds and resets stand in test_kernel_tcp; here are the calls, options and flags.
"""

import errno
import http.client
import select
import selectors
import socket
import struct

import pytest

from scapystack import Stack
from scapystack.sockets.services import start_services
from scapystack.sockets.tcpinfo import unpack_tcp_info
from tests.interop.netns import KERNEL, STACK
from tests.interop.peers import exactly

LIMIT_S = 20
PORT = 5100


@pytest.fixture(scope="module")
def lan(shared_lan):
    return shared_lan


@pytest.fixture(params=["stack accepts", "stack connects"])
def pair(request, lan):
    """Our end and the kernel's end of a connection, opened from either side."""
    if request.param == "stack accepts":
        with lan.stack.create_server((STACK, PORT)) as server:
            server.settimeout(LIMIT_S)
            theirs = lan.ns.connect(PORT)
            ours, _ = server.accept()
    else:
        with lan.ns.socket() as server:
            server.bind((KERNEL, 0))
            server.listen()
            ours = lan.stack.create_connection(server.getsockname(), timeout=LIMIT_S)
            theirs, _ = server.accept()
    ours.settimeout(LIMIT_S)
    theirs.settimeout(LIMIT_S)
    with ours, theirs:
        yield ours, theirs


def errno_of(call, *args):
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is what is compared
        call(*args)
    return caught.value.errno


def test_names_are_each_others(pair):
    ours, theirs = pair
    assert ours.getsockname() == theirs.getpeername()
    assert ours.getpeername() == theirs.getsockname()


def test_octets_both_ways_through_every_call(pair):
    ours, theirs = pair
    ours.sendall(b"one ")
    ours.sendmsg([b"two ", b"three"])
    assert exactly(theirs, 13) == b"one two three"
    theirs.sendall(b"0123456789")
    assert ours.recv(2, socket.MSG_PEEK | socket.MSG_WAITALL) == b"01"
    buffer = bytearray(4)
    assert ours.recv_into(buffer, 4, socket.MSG_WAITALL) == 4
    assert buffer == b"0123"
    assert ours.recv(6, socket.MSG_WAITALL) == b"456789"


def test_files_talk_to_files(pair):
    ours, theirs = pair
    with ours.makefile("rw", newline="\n") as our_file, theirs.makefile("rw", newline="\n") as their_file:
        for line in ("ein\n", "Gespräch\n"):
            our_file.write(line)
            our_file.flush()
            assert their_file.readline() == line
            their_file.write(line.upper())
            their_file.flush()
            assert our_file.readline() == line.upper()


def test_half_close_ends_one_way_only(pair):
    ours, theirs = pair
    ours.sendall(b"question")
    ours.shutdown(socket.SHUT_WR)
    assert exactly(theirs, 8) == b"question"
    assert theirs.recv(1) == b""
    theirs.sendall(b"answer")
    theirs.shutdown(socket.SHUT_WR)
    assert ours.recv(6, socket.MSG_WAITALL) == b"answer"
    assert ours.recv(1) == b""
    assert errno_of(ours.send, b"x") == errno.EPIPE


def test_half_close_of_the_kernel_leaves_our_way_open(pair):
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""
    ours.sendall(b"still talking")
    assert exactly(theirs, 13) == b"still talking"


def test_urgent_octet_of_ours_is_out_of_band_there(pair):
    ours, theirs = pair
    ours.sendall(b"before")
    assert exactly(theirs, 6) == b"before"
    ours.send(b"!", socket.MSG_OOB)
    poll = select.poll()
    poll.register(theirs, select.POLLPRI)
    assert poll.poll(LIMIT_S * 1000)
    theirs.setblocking(False)  # recv() of a socket with a time-out waits for ordinary octets first
    assert theirs.recv(1, socket.MSG_OOB) == b"!"
    theirs.settimeout(LIMIT_S)
    ours.sendall(b"after")
    assert exactly(theirs, 5) == b"after"


def test_urgent_octet_of_the_kernels_is_out_of_band_here(pair):
    ours, theirs = pair
    theirs.sendall(b"before")
    theirs.send(b"!", socket.MSG_OOB)
    theirs.sendall(b"after")
    assert ours.recv(11, socket.MSG_WAITALL) == b"beforeafter"
    assert ours.recv(1, socket.MSG_OOB) == b"!"
    assert errno_of(ours.recv, 1, socket.MSG_OOB) == errno.EINVAL


def test_urgent_octet_inline_stays_in_its_place(pair):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    theirs.send(b"a!", socket.MSG_OOB)
    theirs.sendall(b"b")
    assert ours.recv(3, socket.MSG_WAITALL) == b"a!b"


def test_connect_refused_both_ways(lan):
    assert lan.stack.socket().connect_ex((KERNEL, 4999)) == errno.ECONNREFUSED
    with lan.ns.socket() as sock:
        assert sock.connect_ex((STACK, 4999)) == errno.ECONNREFUSED


def test_connect_to_nobody_times_out_or_is_unreachable(lan):
    sock = lan.stack.socket()
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.connect(("10.0.0.99", 80))
    sock.close()
    assert lan.stack.socket().connect_ex(("198.51.100.1", 80)) == errno.ENETUNREACH


def test_linger_zero_of_either_side_is_a_reset_at_the_other(pair):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.close()
    assert errno_of(theirs.recv, 1) == errno.ECONNRESET


def test_reset_of_the_kernel_wakes_our_reader(pair):
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    assert errno_of(ours.recv, 1) == errno.ECONNRESET
    assert ours.recv(1) == b""
    assert errno_of(ours.send, b"x") == errno.EPIPE


def test_selectors_drives_both_sides_without_blocking(pair):
    ours, theirs = pair
    data = bytes(range(256)) * 20_000
    sent, got = 0, bytearray()
    ours.setblocking(False)
    theirs.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_WRITE)
        selector.register(theirs, selectors.EVENT_READ)
        while len(got) < len(data):
            ready = selector.select(LIMIT_S)
            assert ready
            for key, _ in ready:
                if key.fileobj is ours:
                    sent += ours.send(data[sent : sent + 100_000])
                    if sent == len(data):
                        selector.unregister(ours)
                else:
                    got += theirs.recv(1 << 20)
    assert bytes(got) == data


def test_tcp_info_of_both_sides_agrees(pair):
    ours, theirs = pair
    ours.sendall(bytes(5000))
    exactly(theirs, 5000)
    mine = unpack_tcp_info(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232))
    kernels = unpack_tcp_info(theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232))
    assert mine["state"] == kernels["state"] == 1
    assert mine["snd_mss"] == kernels["snd_mss"] == ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert mine["options"] & 7 == kernels["options"] & 7 == 7  # timestamps, SACK, window scale
    # each side's two shifts are the other's, the other way round
    assert mine["wscale"] == (kernels["wscale"] >> 4 | (kernels["wscale"] & 15) << 4)
    assert mine["rtt"] > 0


def test_maxseg_bounds_what_the_kernel_sends(lan):
    with lan.stack.create_server((STACK, PORT)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 600)
        server.settimeout(LIMIT_S)
        with lan.ns.connect(PORT) as theirs:
            ours, _ = server.accept()
            with ours:
                assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 600


# -- datagrams and raw ---------------------------------------------------------------------------------


def test_udp_both_ways_connected_and_not(lan):
    ours = lan.stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.settimeout(LIMIT_S)
    ours.bind((STACK, 0))
    with lan.ns.socket(socket.SOCK_DGRAM) as theirs, ours:
        theirs.bind((KERNEL, 0))
        for size in (0, 1, 1472, 1473, 60_000, 65_507):
            data = bytes(i & 0xFF for i in range(size))
            ours.sendto(data, theirs.getsockname())
            assert theirs.recvfrom(65_535) == (data, ours.getsockname())
            theirs.sendto(data, ours.getsockname())
            assert ours.recvfrom(65_535) == (data, theirs.getsockname())
        ours.connect(theirs.getsockname())
        ours.send(b"connected")
        assert theirs.recv(100) == b"connected"


def test_udp_to_a_closed_port_is_refused_both_ways(lan):
    ours = lan.stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.settimeout(LIMIT_S)
    ours.connect((KERNEL, 4999))
    ours.send(b"x")
    assert errno_of(ours.recv, 1) == errno.ECONNREFUSED
    with lan.ns.socket(socket.SOCK_DGRAM) as theirs:
        theirs.connect((STACK, 4999))
        theirs.send(b"x")
        assert errno_of(theirs.recv, 1) == errno.ECONNREFUSED


def test_ttl_and_tos_are_seen_by_the_kernel(lan):
    with lan.ns.socket(socket.SOCK_DGRAM) as theirs:
        theirs.bind((KERNEL, 0))
        theirs.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        theirs.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        ours = lan.stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 21)
        ours.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x48)
        ours.sendto(b"x", theirs.getsockname())
        _, ancillary, _, _ = theirs.recvmsg(10, 100)
    seen = {kind: data[0] for _, kind, data in ancillary}
    assert (seen[2], seen[1]) == (21, 0x48)  # IP_TTL, IP_TOS


def test_broadcast_needs_its_option_and_reaches_the_kernel(lan):
    ours = lan.stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lan.ns.socket(socket.SOCK_DGRAM) as theirs:
        theirs.bind(("", 5555))
        assert errno_of(ours.sendto, b"x", ("10.0.0.255", 5555)) == errno.EACCES
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        ours.sendto(b"to all", ("10.0.0.255", 5555))
        assert theirs.recv(100) == b"to all"


def test_multicast_reaches_members_both_ways(lan):
    group = "239.1.2.3"
    ours = lan.stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.settimeout(LIMIT_S)
    ours.bind(("", 5556))
    ours.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(STACK))
    with lan.ns.socket(socket.SOCK_DGRAM) as theirs:
        theirs.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(KERNEL))
        theirs.sendto(b"group", (group, 5556))
        data, (host, _) = ours.recvfrom(100)
    assert (data, host) == (b"group", KERNEL)
    ours.close()


def test_raw_icmp_ping_by_hand(lan):
    ours = lan.stack.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    ours.settimeout(LIMIT_S)
    request = b"\x08\0" + b"\0\0" + b"\x12\x34\0\1" + b"raw ping"
    total = sum(struct.unpack(f"!{len(request) // 2}H", request))
    total = (total & 0xFFFF) + (total >> 16)
    request = request[:2] + struct.pack("!H", ~total & 0xFFFF) + request[4:]
    with ours:
        ours.sendto(request, (KERNEL, 0))
        packet, sender = ours.recvfrom(1000)
    assert sender == (KERNEL, 0)
    assert packet[20:22] == b"\0\0"
    assert packet[24:] == request[4:]


def test_ping_of_the_kernel(lan):
    reply = lan.stack.ping(KERNEL, size=2000, timeout=LIMIT_S)
    assert (reply.address, len(reply.data)) == (KERNEL, 2000)


# -- services and the whole ----------------------------------------------------------------------------


def test_http_client_of_the_kernel_fetches_from_our_service(lan, tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "file.bin").write_bytes(data)
    (service,) = start_services(lan.stack, "http:8000", tmp_path)
    client = http.client.HTTPConnection(STACK, 8000)
    client.sock = lan.ns.connect(8000)
    for _ in range(2):
        client.request("GET", "/file.bin")
        response = client.getresponse()
        assert response.read() == data
    assert service.accepted == 1
    client.close()
    service.close()


def test_stack_tap_sets_everything_up_and_leaves_nothing(netns):
    with Stack.tap("tapapi", "10.9.8.1/24", netns=netns.name) as stack:
        assert stack.ping("10.9.8.2", timeout=LIMIT_S).address == "10.9.8.2"
        with stack.create_server(("", 7000)) as server:
            server.settimeout(LIMIT_S)
            with netns.connect(7000, "10.9.8.1") as theirs:
                ours, _ = server.accept()
                ours.sendall(b"hello")
                assert exactly(theirs, 5) == b"hello"
                ours.close()
        assert "tapapi" in netns.run("ip", "link").decode()
    assert "tapapi" not in netns.run("ip", "link").decode()
