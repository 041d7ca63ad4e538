"""The iperf3 service in virtual time, and a client here that says what iperf3's does (or what it never would)."""

import json
import socket
import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from scapystack.base.frames import Frame
from scapystack.link.memory import MemoryLink
from scapystack.sockets.services import iperf3_wire as wire
from scapystack.sockets.services.iperf3 import Iperf3
from scapystack.sockets.services.iperf3_streams import block

LO = "127.0.0.1"
PORT = 5201
COOKIE = b"a" * 36 + b"\0"
STARTED = bytes((wire.TEST_START, wire.TEST_RUNNING))
BUSY = bytes((wire.ACCESS_DENIED,))


@pytest.fixture
def service(still):
    used = iter([(0.0, 0.0), (0.5, 0.25)])
    made = Iperf3(still.driver, usage=lambda: next(used))
    made.open()
    yield made
    made.close()


class Client:
    """The control connection of a test, and its streams."""

    def __init__(self, still, cookie=COOKIE):
        self.still = still
        self.cookie = cookie
        self.control = self.stream()

    def stream(self):
        """A connection that shows the cookie."""
        sock = self.still.stack.create_connection((LO, PORT))
        sock.setblocking(False)
        sock.send(self.cookie)
        return sock

    def say(self, state):
        self.control.send(bytes((state,)))

    def tell(self, value):
        text = json.dumps(value).encode()
        self.control.send(struct.pack("!I", len(text)) + text)

    def heard(self):
        """What the server has said since."""
        try:
            return self.control.recv(1 << 16)
        except BlockingIOError:
            return b""

    def begins(self, **parameters):
        """Up to where streams are awaited."""
        assert self.heard() == bytes((wire.PARAM_EXCHANGE,))
        self.tell(parameters)
        assert self.heard() == bytes((wire.CREATE_STREAMS,))

    def ends(self):
        """From the end of the test on; the server's results."""
        self.say(wire.TEST_END)
        assert self.heard().removeprefix(STARTED) == bytes((wire.EXCHANGE_RESULTS,))
        self.tell({"streams": []})
        told = self.heard()
        (length,) = struct.unpack_from("!I", told)
        assert told[4 + length :] == bytes((wire.DISPLAY_RESULTS,))
        self.say(wire.IPERF_DONE)
        assert self.control.recv(10) == b""
        return json.loads(told[4 : 4 + length])


def test_iperf3_forward_counts_what_came(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1, parallel=2)
    first, second = client.stream(), client.stream()
    assert client.heard() == STARTED
    first.send(bytes(10_000))
    second.send(bytes(5_000))
    still.pass_time(1)
    told = client.ends()
    assert [(s["id"], s["bytes"], s["end_time"]) for s in told["streams"]] == [(1, 10_000, 1.0), (3, 5_000, 1.0)]
    assert told["sender_has_retransmits"] == -1
    assert (told["cpu_util_user"], told["cpu_util_system"], told["cpu_util_total"]) == (50, 25, 75)
    assert told["congestion_used"] == "cubic"
    assert first.recv(10) == b""
    assert service.test is None


def test_iperf3_reverse_sends_until_told_to_end(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1, reverse=True, congestion="reno", nodelay=True)
    stream = client.stream()
    assert client.heard() == STARTED
    read = 0
    for _ in range(5):
        read += len(stream.recv(1 << 20))
    assert read > 1 << 20
    told = client.ends()
    assert told["streams"][0]["retransmits"] == 0
    assert told["sender_has_retransmits"] == 1
    assert told["congestion_used"] == "reno"
    while part := stream.recv(1 << 20):
        read += len(part)
    assert told["streams"][0]["bytes"] <= read  # what had arrived when the test ended, and what was queued comes too


def test_iperf3_reverse_at_a_rate_keeps_to_it(still, service):
    client = Client(still)
    client.begins(tcp=True, time=2, reverse=True, bandwidth=8_000_000, len=1_000, nodelay=True)
    stream = client.stream()
    read = 0
    for _ in range(20):
        still.pass_time(0.1)
        read += len(stream.recv(1 << 20))
    assert read == pytest.approx(2_000_000, rel=0.001)
    assert 0 <= read - client.ends()["streams"][0]["bytes"] < 50_000  # the last of it is not acknowledged yet


def test_iperf3_both_directions_receives_on_the_first_streams(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1, bidirectional=1)
    forth, back = client.stream(), client.stream()
    assert client.heard() == STARTED
    forth.send(bytes(3_000))
    assert len(back.recv(1 << 20)) > 3_000
    told = client.ends()
    assert told["streams"][0]["bytes"] == 3_000
    assert told["streams"][1]["bytes"] > 3_000


def test_iperf3_omitted_seconds_do_not_count(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1, omit=1)
    stream = client.stream()
    stream.send(bytes(7_000))
    still.pass_time(1.5)
    stream.send(bytes(500))
    still.pass_time(0.5)
    (told,) = client.ends()["streams"]
    assert (told["bytes"], told["end_time"]) == (500, 1.0)


# --- datagrams


def udp_client(still, client, **parameters):
    client.begins(udp=True, time=1, len=100, udp_counters_64bit=1, **parameters)
    sock = still.udp()
    sock.connect((LO, PORT))
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize(
    ("hello", "answer"), [(b"9876", b"6789"), (b"6789", b"9876"), (b"\x15\xcd[\x07", b"\xb1h\xde:")]
)
def test_iperf3_udp_stream_begins_with_an_answer_in_the_clients_order(still, service, hello, answer):
    client = Client(still)
    sock = udp_client(still, client)
    sock.send(hello)
    assert sock.recv(10) == answer
    assert client.heard() == STARTED


def test_iperf3_udp_losses_and_disorder_are_counted(still, service):
    client = Client(still)
    sock = udp_client(still, client)
    sock.send(b"9876")
    for number in (1, 2, 5, 4, 7):
        sock.send(struct.pack("!IIQ", 1, 0, number).ljust(100, b"x"))
        still.pass_time(0.01)
    (told,) = client.ends()["streams"]
    assert (told["packets"], told["errors"], told["bytes"]) == (7, 2, 500)
    assert told["jitter"] == pytest.approx(0.01 * (1 - (15 / 16) ** 4))  # RFC 1889 section 6.3.1


def test_iperf3_udp_reverse_sends_at_the_rate_with_numbers_and_times(still, service):
    client = Client(still)
    sock = udp_client(still, client, reverse=True, bandwidth=800_000)
    sock.send(b"9876")
    assert sock.recv(10) == b"6789"
    still.pass_time(1)
    came = [sock.recv(200) for _ in range(1_000)]
    assert {len(data) for data in came} == {100}
    numbers = [struct.unpack_from("!IIQ", data) for data in came]
    assert [number for _, _, number in numbers] == list(range(1, 1_001))
    assert 0.99 < numbers[-1][0] + numbers[-1][1] / 1e6 - (numbers[0][0] + numbers[0][1] / 1e6) <= 1
    with pytest.raises(BlockingIOError):
        sock.recv(200)
    (told,) = client.ends()["streams"]
    assert told["packets"] == 1_000


def test_iperf3_datagram_of_no_stream_is_not_answered(still, service):
    sock = still.udp()
    sock.connect((LO, PORT))
    sock.setblocking(False)
    sock.send(b"9876")  # there is no test
    client = Client(still)
    other = udp_client(still, client)
    other.send(b"no hello")
    for each in (sock, other):
        with pytest.raises(BlockingIOError):
            each.recv(10)


# --- who comes at the wrong time, or says the wrong thing


def test_iperf3_second_client_is_told_that_it_is_busy_and_the_first_goes_on(still, service):
    first = Client(still)
    second = Client(still, b"b" * 36 + b"\0")
    assert second.heard() == BUSY
    assert second.control.recv(1) == b""
    first.begins(tcp=True, time=1)
    first.stream()
    assert first.heard() == STARTED
    assert len(first.ends()["streams"]) == 1


def test_iperf3_one_stream_too_many_is_refused(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1)
    client.stream()
    assert client.stream().recv(10) == BUSY


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff\xff\xff\xff",
        struct.pack("!I", 2) + b"{]",
        struct.pack("!I", 2) + b"[]",
        struct.pack("!I", 40_000) + b"[" * 40_000,
        wire.message({"parallel": 1_000_000}),
        wire.message({"parallel": "two"}),
        wire.message({"len": -1}),
        wire.message({"udp": True, "len": 65_508}),
        wire.message({"time": 1e300}),
        wire.message({"tcp": True}) + bytes((wire.TEST_END,)),
        wire.message({"tcp": True}) + b"\0",
    ],
)
def test_iperf3_nonsense_ends_the_test_and_the_next_one_is_served(still, service, octets):
    client = Client(still)
    client.control.send(octets)
    assert still.net.counters["iperf3.bad_client"] == 1
    assert service.test is None
    again = Client(still, b"c" * 37)
    again.begins(tcp=True, time=1)


def test_iperf3_half_a_cookie_and_the_end_leaves_nothing(still, service):
    sock = still.stack.create_connection((LO, PORT))
    sock.send(b"half")
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(10) == b""
    assert service.test is None
    assert not service.sessions


def test_iperf3_control_that_closes_ends_the_test_and_its_streams(still, service):
    client = Client(still)
    client.begins(tcp=True, time=10)
    stream = client.stream()
    client.control.close()
    assert service.test is None
    assert stream.recv(10) == b""
    assert not service.sessions


@pytest.mark.parametrize("state", [wire.CLIENT_TERMINATE, wire.IPERF_DONE])
def test_iperf3_client_that_gives_up_is_let_go(still, service, state):
    client = Client(still)
    client.begins(tcp=True, time=10)
    client.stream()
    client.say(state)
    assert service.test is None


def test_iperf3_stream_that_is_reset_does_not_end_the_test(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1, reverse=True)
    stream = client.stream()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
    assert len(client.ends()["streams"]) == 1


def test_iperf3_silent_client_is_given_up(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1)
    still.pass_time(29)
    assert service.test is not None
    still.pass_time(2)
    assert service.test is None
    assert still.net.counters["iperf3.silent_client"] == 1


def test_iperf3_test_without_a_time_may_take_as_long_as_it_takes(still, service):
    client = Client(still)
    client.begins(tcp=True, time=0, num=1_000_000)
    client.stream()
    still.pass_time(3_600)
    assert service.test is not None


def test_iperf3_close_ends_all(still, service):
    client = Client(still)
    client.begins(tcp=True, time=1)
    client.stream()
    service.close()
    assert not service.sessions
    assert service.test is None


def test_iperf3_many_tests_of_different_sizes_keep_no_memory():
    """A client that asks for another block each time must not have them all kept."""
    for size in range(1, 100):
        assert block(size) == bytes(size)
    assert block.cache_info().currsize <= 4


def test_iperf3_udp_hello_to_which_no_way_leads_back_begins_no_stream(still, service):
    """A forged source: nothing is raised in the round."""
    link, wire_end = MemoryLink.pair()
    still.stack.attach(link, "10.0.0.1/24")
    client = Client(still)
    client.begins(udp=True, time=1, len=100)
    frame = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / IP(src="198.51.100.7", dst="10.0.0.1")
    wire_end.write([Frame(bytes(frame / UDP(sport=9, dport=PORT) / b"9876"))])
    still.driver.round()
    assert still.net.udp.datagrams_in == 1
    assert service.test.streams == []
