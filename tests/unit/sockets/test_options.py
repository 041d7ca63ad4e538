"""Every option: written, read back, and felt where it acts; wrong ones raise the errno that Linux raises."""

import errno
import socket
import struct

import pytest

from scapystack.base.config import StackConfig
from scapystack.sockets.tcpinfo import STRUCT, unpack_tcp_info
from tests.unit.sockets.helpers import errno_of

S, T, I = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP  # noqa: E741


@pytest.mark.parametrize(
    ("level", "name", "value", "setting"),
    [
        (S, socket.SO_KEEPALIVE, 1, ("keepalive", True)),
        (S, socket.SO_OOBINLINE, 1, ("oobinline", True)),
        (S, socket.SO_RCVBUF, 100_000, ("rcvbuf", 100_000)),
        (S, socket.SO_SNDBUF, 100_000, ("sndbuf", 100_000)),
        (T, socket.TCP_NODELAY, 1, ("nodelay", True)),
        (T, socket.TCP_CORK, 1, ("cork", True)),
        (T, socket.TCP_QUICKACK, 1, ("quickack", True)),
        (T, socket.TCP_MAXSEG, 1000, ("mss", 1000)),
        (T, socket.TCP_KEEPIDLE, 12, ("keepalive_idle_ms", 12_000)),
        (T, socket.TCP_KEEPINTVL, 13, ("keepalive_interval_ms", 13_000)),
        (T, socket.TCP_KEEPCNT, 14, ("keepalive_probes", 14)),
        (T, socket.TCP_USER_TIMEOUT, 1500, ("user_timeout_ms", 1500)),
        (I, socket.IP_TTL, 33, ("ttl", 33)),
        (I, socket.IP_TOS, 0x10, ("tos", 0x10)),
    ],
)
def test_tcp_option_set_is_read_back_and_reaches_the_connection(still, level, name, value, setting):
    server = still.stack.create_server(("127.0.0.1", 0))
    server.setsockopt(level, name, value)  # inherited by what it accepts
    client = still.tcp()
    client.setsockopt(level, name, struct.pack("i", value))
    client.connect(server.getsockname())
    accepted, _ = server.accept()
    connections = list(still.net.tcp.connections.values())
    assert len(connections) == 2
    for connection in connections:
        assert getattr(connection.options, setting[0]) == setting[1]
    for sock in (client, accepted):
        if (level, name) == (T, socket.TCP_MAXSEG):
            assert 900 < sock.getsockopt(level, name) <= value  # less the options of each segment
        else:
            assert sock.getsockopt(level, name) == value
            assert sock.getsockopt(level, name, 4) == struct.pack("i", value)


def test_type_of_service_of_tcp_leaves_the_bits_of_ecn_alone(still):
    """3168/6.1: who marks, and what, is TCP's to say (as Linux); a datagram's are the application's."""
    server = still.stack.create_server(("127.0.0.1", 0))
    for sock, kept in ((still.tcp(), 0xB8), (server, 0xB8), (still.udp(), 0xBB)):
        sock.setsockopt(I, socket.IP_TOS, 0xBB)
        assert sock.getsockopt(I, socket.IP_TOS) == kept
    still.tcp().connect(server.getsockname())
    accepted, _ = server.accept()
    assert accepted.getsockopt(I, socket.IP_TOS) == 0xB8


def test_buffer_sizes_have_a_least_value(still):
    sock = still.tcp()
    sock.setsockopt(S, socket.SO_RCVBUF, 1)
    sock.setsockopt(S, socket.SO_SNDBUF, 1)
    assert sock.getsockopt(S, socket.SO_RCVBUF) == 2304
    assert sock.getsockopt(S, socket.SO_SNDBUF) == 4608


def test_defaults_come_from_the_configuration(still_with):
    config = StackConfig()
    config.tcp.nodelay = True
    config.tcp.sndbuf = 50_000
    config.ip.ttl = 77
    sock = still_with(config).tcp()
    assert sock.getsockopt(T, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(S, socket.SO_SNDBUF) == 50_000
    assert sock.getsockopt(I, socket.IP_TTL) == 77
    assert sock.getsockopt(T, socket.TCP_MAXSEG) == 536


def test_ttl_minus_one_goes_back_to_the_default(still):
    sock = still.tcp()
    sock.setsockopt(I, socket.IP_TTL, 5)
    sock.setsockopt(I, socket.IP_TTL, -1)
    assert sock.getsockopt(I, socket.IP_TTL) == 64


def test_read_only_options_say_what_the_socket_is(still):
    stream, datagram = still.tcp(), still.udp()
    raw = still.stack.socket(socket.AF_INET, socket.SOCK_RAW, 89)
    for sock, kind, proto in ((stream, 1, 6), (datagram, 2, 17), (raw, 3, 89)):
        assert sock.getsockopt(S, socket.SO_TYPE) == kind
        assert sock.getsockopt(S, socket.SO_PROTOCOL) == proto
        assert sock.getsockopt(S, socket.SO_DOMAIN) == socket.AF_INET
        assert sock.getsockopt(S, socket.SO_ERROR) == 0
        assert sock.getsockopt(S, socket.SO_ACCEPTCONN) == 0
        assert errno_of(sock.setsockopt, S, socket.SO_TYPE, 1) == errno.ENOPROTOOPT
    stream.listen()
    assert stream.getsockopt(S, socket.SO_ACCEPTCONN) == 1


def test_linger_is_a_struct(still):
    sock = still.tcp()
    assert sock.getsockopt(S, socket.SO_LINGER, 8) == struct.pack("ii", 0, 0)
    sock.setsockopt(S, socket.SO_LINGER, struct.pack("ii", 1, 5))
    assert sock.getsockopt(S, socket.SO_LINGER, 8) == struct.pack("ii", 1, 5)
    assert sock.getsockopt(S, socket.SO_LINGER) == 1
    sock.setsockopt(S, socket.SO_LINGER, struct.pack("ii", 0, 5))
    assert sock.getsockopt(S, socket.SO_LINGER, 8) == struct.pack("ii", 0, 0)
    assert errno_of(sock.setsockopt, S, socket.SO_LINGER, 1) == errno.EINVAL
    assert errno_of(sock.setsockopt, S, socket.SO_LINGER, b"1234") == errno.EINVAL


def test_congestion_is_a_name(still):
    sock = still.tcp()
    assert sock.getsockopt(T, socket.TCP_CONGESTION, 16).rstrip(b"\0") == still.net.config.tcp.congestion.encode()
    sock.setsockopt(T, socket.TCP_CONGESTION, b"reno\0")
    assert sock.getsockopt(T, socket.TCP_CONGESTION, 16) == b"reno".ljust(16, b"\0")
    assert errno_of(sock.setsockopt, T, socket.TCP_CONGESTION, b"none such") == errno.ENOENT


@pytest.mark.parametrize(
    ("level", "name", "value"),
    [
        (I, socket.IP_TTL, 0),
        (I, socket.IP_TTL, 256),
        (T, socket.TCP_MAXSEG, 10),
        (T, socket.TCP_KEEPIDLE, 0),
        (T, socket.TCP_KEEPINTVL, 40_000),
        (T, socket.TCP_KEEPCNT, 128),
        (T, socket.TCP_USER_TIMEOUT, -1),
        (S, socket.SO_KEEPALIVE, b"1"),
        (T, socket.TCP_NODELAY, b""),
    ],
)
def test_value_out_of_range_is_einval(still, level, name, value):
    assert errno_of(still.tcp().setsockopt, level, name, value) == errno.EINVAL


def test_one_octet_will_do_for_ip_options(still):
    sock = still.udp()
    sock.setsockopt(I, socket.IP_TTL, b"\x21")
    assert sock.getsockopt(I, socket.IP_TTL) == 33


@pytest.mark.parametrize(("level", "name"), [(S, 9999), (T, 9999), (12345, 1), (I, socket.IP_HDRINCL)])
def test_unknown_option_is_enoprotoopt(still, level, name):
    sock = still.udp()
    assert errno_of(sock.setsockopt, level, name, 1) == errno.ENOPROTOOPT
    if name != socket.IP_HDRINCL:
        assert errno_of(sock.getsockopt, level, name) == errno.ENOPROTOOPT


def test_tcp_level_on_a_datagram_socket_is_enoprotoopt(still):
    assert errno_of(still.udp().setsockopt, T, socket.TCP_NODELAY, 1) == errno.ENOPROTOOPT


def test_getsockopt_write_only_and_wrong_length_raise(still):
    sock = still.udp()
    assert errno_of(sock.getsockopt, I, socket.IP_ADD_MEMBERSHIP) == errno.ENOPROTOOPT
    with pytest.raises(OSError, match="buflen"):
        sock.getsockopt(S, socket.SO_TYPE, 5000)


def test_setsockopt_none_with_a_length_is_that_many_zeros(still):
    sock = still.tcp()
    sock.setsockopt(T, socket.TCP_NODELAY, 1)
    sock.setsockopt(T, socket.TCP_NODELAY, None, 4)
    assert sock.getsockopt(T, socket.TCP_NODELAY) == 0


# -- TCP_INFO ------------------------------------------------------------------------------------------


def test_tcp_info_layout_is_the_kernels():
    """The same unpacking of the kernel's own struct gives what the kernel says by other means."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(T, socket.TCP_NODELAY, 1)
        accepted, _ = server.accept()
        with accepted:
            client.sendall(bytes(5000))
            accepted.recv(5000, socket.MSG_WAITALL)
            data = client.getsockopt(T, socket.TCP_INFO, 1024)
            sent = unpack_tcp_info(data)
            got = unpack_tcp_info(accepted.getsockopt(T, socket.TCP_INFO, 1024))
            assert STRUCT.size == 280  # Linux 6.18; older kernels have the front of it
            assert len(data) >= 232
            assert sent["state"] == 1
            assert sent["snd_mss"] == client.getsockopt(T, socket.TCP_MAXSEG)
            assert sent["bytes_sent"] == got["bytes_received"] == 5000
            assert sent["data_segs_out"] >= 1
            assert sent["snd_wnd"] > 0
            assert sent["options"] & 1  # timestamps


def test_tcp_info_of_a_connection_says_what_the_connection_says(still):
    client, accepted = still.connected()
    client.sendall(bytes(3000))
    info = unpack_tcp_info(client.getsockopt(T, socket.TCP_INFO, 256))
    (connection,) = (c for c in still.net.tcp.connections.values() if not c.passive)
    own = connection.info()
    assert info["state"] == 1
    assert (info["snd_mss"], info["snd_cwnd"], info["rto"]) == (own.snd_mss, own.snd_cwnd, own.rto)
    assert info["wscale"] == own.snd_wscale | own.rcv_wscale << 4
    assert len(client.getsockopt(T, socket.TCP_INFO, 104)) == 104
    accepted.close()
    client.close()


def test_tcp_info_state_is_numbered_as_in_linux(still):
    sock = still.tcp()

    def state(sock):
        return unpack_tcp_info(sock.getsockopt(T, socket.TCP_INFO, 232))["state"]

    assert state(sock) == 7
    sock.listen()
    assert state(sock) == 10
    client, accepted = still.connected()
    client.shutdown(socket.SHUT_WR)
    assert (state(client), state(accepted)) == (5, 8)


def test_type_of_service_keeps_its_low_octet(still):
    sock = still.udp()
    sock.setsockopt(I, socket.IP_TOS, 0x1B8)
    assert sock.getsockopt(I, socket.IP_TOS) == 0xB8


def test_header_included_is_not_a_streams(still):
    sock = still.tcp()
    assert sock.getsockopt(I, socket.IP_HDRINCL) == 0
    assert errno_of(sock.setsockopt, I, socket.IP_HDRINCL, 1) == errno.ENOPROTOOPT


def test_int_for_a_struct_or_a_name_is_judged_by_its_octets(still):
    sock = still.tcp()
    assert errno_of(sock.setsockopt, S, socket.SO_LINGER, 1) == errno.EINVAL
    assert errno_of(sock.setsockopt, T, socket.TCP_CONGESTION, 1) == errno.ENOENT


@pytest.mark.parametrize("words", [(None,), (1, 4)])
def test_setsockopt_length_goes_with_none_alone(still, words):
    with pytest.raises(TypeError):
        still.tcp().setsockopt(S, socket.SO_REUSEADDR, *words)
