"""The services over sockets of the same stack, in virtual time: what they answer, hold back and give up."""

import contextlib
import errno
import random
import socket
import struct
import time

import pytest

from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.sockets.services import SERVICES, parse_services, start_services
from scapystack.sockets.services.daytime import Daytime
from scapystack.sockets.services.source import PERIOD, pattern

LO = "127.0.0.1"


@pytest.fixture
def served(still):
    """All services but http on their own ports."""
    services = start_services(still.stack, "echo,discard,source,daytime")
    yield still
    for service in services:
        service.close()


def client_of(still, port):
    sock = still.stack.create_connection((LO, port))
    sock.setblocking(False)
    return sock


def read_all(still, sock, limit=1 << 30):
    """Everything up to the end, with time passing while nothing comes."""
    parts = []
    for _ in range(10_000):
        try:
            part = sock.recv(1 << 20)
        except BlockingIOError:
            still.pass_time(0.05)
            continue
        if not part:
            return b"".join(parts)
        parts.append(part)
        if sum(map(len, parts)) >= limit:
            return b"".join(parts)
    raise AssertionError("no end")


def write_all(still, sock, data):
    """Queue everything, with time passing while there is no room."""
    view = memoryview(data)
    for _ in range(10_000):
        if not view:
            return
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            still.pass_time(0.05)
    raise AssertionError("no room")


# -- echo ----------------------------------------------------------------------------------------------


def test_echo_sends_back_and_ends_after_the_client(served):
    sock = client_of(served, 7)
    sock.send(b"hello")
    assert sock.recv(100) == b"hello"
    sock.send(b"last")
    sock.shutdown(socket.SHUT_WR)
    assert read_all(served, sock) == b"last"


def test_echo_that_nobody_reads_stops_reading(still_with):
    config = StackConfig()
    config.tcp.sndbuf = config.tcp.rcvbuf = 100_000
    still = still_with(config)
    (service,) = start_services(still.stack, "echo")
    sock = client_of(still, 7)
    data = pattern(0, 3_000_000)
    sent = 0
    for _ in range(200):
        try:
            sent += sock.send(data[sent : sent + 50_000])
        except BlockingIOError:
            still.pass_time(0.3)
    # four buffers of 100,000 octets hold it all: ours and theirs, each way
    assert 200_000 <= sent <= 450_000
    back = bytearray()
    for _ in range(10_000):
        try:
            back += sock.recv(65_536)
        except BlockingIOError:
            still.pass_time(0.05)
        try:
            sent += sock.send(data[sent : sent + 50_000])
        except BlockingIOError:
            still.pass_time(0.05)
        if len(back) == len(data):
            break
    assert bytes(back) == data
    sock.close()
    still.pass_time(1)
    assert not service.sessions
    service.close()


def test_echo_reset_by_the_client_is_forgotten(still):
    (service,) = start_services(still.stack, "echo")
    sock = client_of(still, 7)
    sock.send(b"never read")
    sock.close()
    still.pass_time(1)
    assert service.accepted == 1
    assert not service.sessions
    assert not [c for c in still.net.tcp.connections.values() if c.local_port == 7]
    service.close()


def test_echo_thousand_connections_are_all_served(served):
    socks = [client_of(served, 7) for _ in range(1000)]
    for i, sock in enumerate(socks):
        sock.send(b"%d" % i)
    assert [sock.recv(10) for sock in socks] == [b"%d" % i for i in range(1000)]
    for sock in socks:
        sock.close()


def test_echo_datagrams_come_back_to_their_sender(served):
    socks = [served.udp() for _ in range(3)]
    for i, sock in enumerate(socks):
        sock.sendto(b"%d" % i, (LO, 7))
    assert [sock.recvfrom(10) for sock in socks] == [(b"%d" % i, (LO, 7)) for i in range(3)]
    big = bytes(range(256)) * 234
    socks[0].sendto(big, (LO, 7))
    assert socks[0].recv(65_535) == big


@pytest.mark.parametrize("port", [7, 13])
def test_datagram_from_a_port_that_answers_by_itself_gets_no_answer(still, port):
    """Else one forged datagram would keep two stacks busy for ever."""
    services = start_services(still.stack, "echo:1007,daytime:1013")
    sock = still.udp()
    sock.setblocking(False)
    sock.bind((LO, port))
    sock.sendto(b"x", (LO, 1007))
    sock.sendto(b"x", (LO, 1013))
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    for service in services:
        service.close()


def test_echo_survives_the_icmp_error_of_an_answer(served):
    gone = served.udp()
    gone.sendto(b"x", (LO, 7))
    gone.close()
    sock = served.udp()
    sock.sendto(b"still there", (LO, 7))
    assert sock.recv(100) == b"still there"


# -- discard -------------------------------------------------------------------------------------------


def test_discard_takes_everything_and_ends_after_the_client(served):
    sock = client_of(served, 9)
    write_all(served, sock, bytes(6_000_000))
    served.pass_time(1)
    (connection,) = (c for c in served.net.tcp.connections.values() if c.local_port == 9)
    assert connection.available == 0
    sock.shutdown(socket.SHUT_WR)
    assert read_all(served, sock) == b""


# -- source --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 8, 9, 65_537, PERIOD - 1, PERIOD, PERIOD + 1, 5 * PERIOD + 12_345])
def test_source_sends_exactly_the_counter(served, count):
    sock = client_of(served, 19)
    sock.send(b"%d\n" % count)
    assert read_all(served, sock) == pattern(0, count)


def test_source_pattern_is_the_big_endian_counter():
    assert pattern(0, 24) == bytes(8) + bytes(7) + b"\1" + bytes(7) + b"\2"
    assert pattern(PERIOD - 8, 16) == (131_071).to_bytes(8, "big") + bytes(8)
    assert pattern(3, 7) == pattern(0, 10)[3:]


def test_source_small_buffers_still_send_exactly(still_with):
    config = StackConfig()
    config.tcp.sndbuf = config.tcp.rcvbuf = 10_000
    still = still_with(config)
    (service,) = start_services(still.stack, "source")
    sock = client_of(still, 19)
    sock.send(b"300000\n")
    assert read_all(still, sock) == pattern(0, 300_000)
    service.close()


def test_source_request_in_pieces_is_put_together(served):
    sock = client_of(served, 19)
    for octet in (b"1", b"6", b"\r", b"\n"):
        sock.send(octet)
    assert read_all(served, sock) == pattern(0, 16)


@pytest.mark.parametrize("request_", [b"\n", b"x\n", b"-5\n", b"1.5\n", b"1" * 40, b"9" * 30 + b"\n"])
def test_source_bad_request_is_closed_without_a_word(served, request_):
    sock = client_of(served, 19)
    sock.send(request_)
    # of a request too long, something was left unread: that is a reset
    with contextlib.suppress(ConnectionResetError):
        assert read_all(served, sock) == b""


def test_source_half_close_after_the_request_still_gets_it_all(served):
    sock = client_of(served, 19)
    sock.send(b"2000000\n")
    sock.shutdown(socket.SHUT_WR)
    assert read_all(served, sock) == pattern(0, 2_000_000)


def test_source_end_without_a_request_is_closed(served):
    sock = client_of(served, 19)
    sock.send(b"12")
    sock.shutdown(socket.SHUT_WR)
    assert read_all(served, sock) == b""


def test_source_keeps_the_pattern_without_copies(served):
    sock = client_of(served, 19)
    sock.send(b"100000000\n")
    (connection,) = (c for c in served.net.tcp.connections.values() if c.local_port == 19)
    kept = {id(chunk.obj if isinstance(chunk, memoryview) else chunk) for chunk in connection.sendbuf._chunks}
    assert connection.unsent > 2 * PERIOD
    assert len(kept) <= 4
    sock.close()


# -- daytime -------------------------------------------------------------------------------------------


def test_daytime_says_the_time_over_tcp_and_udp(still):
    service = Daytime(still.driver, 13, clock=lambda: 1_763_814_896)
    service.open()
    line = b"Saturday, November 22, 2025 12:34:56-UTC\r\n"
    assert read_all(still, client_of(still, 13)) == line
    sock = still.udp()
    sock.sendto(b"", (LO, 13))
    assert sock.recv(100) == line
    service.close()


def test_daytime_by_default_is_now(served):
    line = read_all(served, client_of(served, 13)).decode().strip()
    then = time.strptime(line, "%A, %B %d, %Y %H:%M:%S-UTC")
    assert abs(time.mktime(then) - time.mktime(time.gmtime())) < 60


# -- all of them ---------------------------------------------------------------------------------------


def test_parse_services_names_and_ports():
    assert [(kind.name, port) for kind, port in parse_services("echo, discard:99 ,http:8080,")] == [
        ("echo", 7),
        ("discard", 99),
        ("http", 8080),
    ]
    assert parse_services("") == []
    assert set(SERVICES) == {"echo", "discard", "source", "daytime", "http", "iperf3"}


@pytest.mark.parametrize("spec", ["ftp", "echo,ftp:21", "echo:", "echo:0", "echo:65536", "echo:x", "echo:7:7"])
def test_start_services_wrong_spec_is_one_clear_line_and_starts_nothing(still, spec):
    with pytest.raises(ConfigError) as caught:
        start_services(still.stack, spec)
    assert "\n" not in str(caught.value)
    assert not still.net.tcp.listeners
    assert not still.net.udp.endpoints


def test_start_services_port_taken_is_a_config_error_and_undoes_the_rest(still):
    taken = still.udp()
    taken.bind((LO, 1013))
    with pytest.raises(ConfigError, match="daytime on port 1013"):
        start_services(still.stack, "echo,daytime:1013")
    assert not still.net.tcp.listeners
    assert [e.local_port for e in still.net.udp.endpoints] == [1013]


def test_describe_is_one_line_with_name_and_port(still, tmp_path):
    services = start_services(still.driver, "echo,discard:99,source,daytime,http:8080", tmp_path)
    lines = [service.describe() for service in services]
    assert lines[0] == "echo on TCP and UDP port 7: sends back what it gets"
    assert "discard on TCP port 99" in lines[1]
    assert str(tmp_path) in lines[4]
    assert all("\n" not in line for line in lines)
    for service in services:
        service.close()


def test_close_ends_connections_and_frees_the_ports(still):
    services = start_services(still.stack, "echo,source")
    sock = client_of(still, 7)
    for service in services:
        service.close()
        service.close()
    assert sock.recv(1) == b""
    assert still.stack.socket().connect_ex((LO, 7)) == errno.ECONNREFUSED
    assert not still.net.udp.endpoints
    for service in start_services(still.stack, "echo,source"):
        service.close()


@pytest.mark.parametrize("name", ["echo", "discard", "source", "daytime", "http"])
def test_service_survives_whatever_comes(still, tmp_path, name):
    """Octets drawn from a seed in pieces, with ends and resets at every point; an exception would be raised here."""
    rng = random.Random(name)
    (tmp_path / "f").write_bytes(bytes(100_000))
    (service,) = start_services(still.stack, name, tmp_path)
    words = [
        b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n",
        b"1000000\n",
        b"\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n",
        b"\0" * 9000,
        b"7",
    ]
    for _ in range(150):
        sock = client_of(still, service.local_port)
        with contextlib.suppress(OSError):
            for _ in range(rng.randrange(6)):
                sock.send(rng.choice(words) if rng.random() < 0.7 else rng.randbytes(rng.randrange(200)))
                if rng.random() < 0.3:
                    sock.recv(rng.randrange(1, 50_000))
                if rng.random() < 0.1:
                    sock.shutdown(socket.SHUT_WR)
        if rng.random() < 0.3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    still.pass_time(200)
    assert service.accepted == 150
    assert not service.sessions
    service.close()
