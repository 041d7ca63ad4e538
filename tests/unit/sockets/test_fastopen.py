"""TCP Fast Open through the socket calls (RFC 7413 appendix A), in virtual time: what it saves, and its errors."""

import errno
import socket

import pytest

from scapystack import Stack
from scapystack.base.config import StackConfig
from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.sockets import MSG_FASTOPEN, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT
from tests.unit.sockets.helpers import errno_of, levels

T = socket.IPPROTO_TCP
DELAY = 10_000_000
SERVER = ("10.0.0.1", 80)
QUESTION = b"what is the answer?"


class Ends:
    """A server and a client 20 ms apart and back, both with Fast Open, and the client's clock."""

    def __init__(self, fastopen=3):
        config = StackConfig()
        config.tcp.fastopen = fastopen
        self.simulation = Simulation()
        a, b = MemoryLink.pair(delay=DELAY)
        self.there = Stack("10.0.0.1/24", link=a, simulation=self.simulation, seed=1, config=config)
        self.here = Stack("10.0.0.2/24", link=b, simulation=self.simulation, seed=2, config=config)
        self.server = self.there.create_server(SERVER)
        self.server.setsockopt(T, TCP_FASTOPEN, 8)

    def now_ms(self):
        return self.here.driver.clock() / 1e6

    def socket(self, timeout=None):
        made = self.here.socket()
        made.settimeout(timeout)
        return made

    def meet(self):
        """Get the server's cookie."""
        with self.socket() as client:
            client.sendto(b"x", MSG_FASTOPEN, SERVER)
            self.server.accept()[0].close()


@pytest.fixture
def ends():
    made = Ends()
    yield made
    made.here.close()
    made.there.close()


@pytest.fixture
def met(ends):
    ends.meet()
    return ends


def test_question_is_there_half_a_round_trip_after_the_connect(met):
    """RFC 7413 section 1: one round trip is saved."""
    client = met.socket(0)
    began = met.now_ms()
    assert client.sendto(QUESTION, MSG_FASTOPEN, SERVER) == len(QUESTION)
    accepted, _ = met.server.accept()
    assert accepted.recv(100) == QUESTION
    assert met.now_ms() - began == 10
    accepted.sendall(b"42")
    client.settimeout(5)
    assert client.recv(100) == b"42"
    assert met.now_ms() - began == 20


def test_question_without_a_cookie_takes_the_round_trip(ends):
    client = ends.socket()
    ends.here.ping("10.0.0.1")  # ARP is done
    began = ends.now_ms()
    assert client.sendto(QUESTION, MSG_FASTOPEN, SERVER) == len(QUESTION)
    assert ends.now_ms() - began == 20
    accepted, _ = ends.server.accept()
    assert accepted.recv(100) == QUESTION
    assert ends.now_ms() - began == 30


def test_accepted_before_the_handshake_knows_its_names_and_ends_as_ever(met):
    client = met.socket(0)
    client.sendto(QUESTION, MSG_FASTOPEN, SERVER)
    accepted, address = met.server.accept()
    assert address == client.getsockname() == accepted.getpeername()
    assert accepted.getsockopt(T, socket.TCP_INFO) == 3  # SYN-RECEIVED, as Linux says it
    accepted.setblocking(False)
    assert levels(accepted) == (True, True)
    assert accepted.recv(100) == QUESTION
    accepted.shutdown(socket.SHUT_WR)
    client.settimeout(5)
    assert client.recv(100) == b""
    client.close()
    accepted.settimeout(5)
    assert accepted.recv(100) == b""


def test_sendto_that_must_not_wait_and_has_no_cookie_is_in_progress(ends):
    """RFC 7413 appendix A.1: nothing is taken; the cookie is asked for."""
    client = ends.socket(0)
    assert errno_of(client.sendto, QUESTION, MSG_FASTOPEN, SERVER) == errno.EINPROGRESS
    assert errno_of(client.sendto, QUESTION, MSG_FASTOPEN, SERVER) == errno.EALREADY
    accepted, _ = ends.server.accept()
    client.settimeout(5)
    client.sendall(b"later")
    assert accepted.recv(100) == b"later"


def test_sendto_of_much_sends_all_of_it(met):
    client = met.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    data = bytes(range(250)) * 200
    assert client.sendto(data, MSG_FASTOPEN, SERVER) == len(data)
    accepted, _ = met.server.accept()
    assert accepted.recv(len(data), socket.MSG_WAITALL) == data


def test_sendto_of_much_within_a_time_out_says_how_much(met):
    client = met.socket(5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    assert client.sendto(bytes(20_000), MSG_FASTOPEN, SERVER) == 5000


def test_sendto_refused_says_so(met):
    met.server.close()
    with pytest.raises(ConnectionRefusedError):
        met.socket().sendto(QUESTION, MSG_FASTOPEN, SERVER)


def test_sendto_on_a_connected_socket_is_refused(met):
    client = met.socket()
    client.connect(SERVER)
    assert errno_of(client.sendto, QUESTION, MSG_FASTOPEN, SERVER) == errno.EISCONN


@pytest.mark.parametrize("fastopen", [0, 2])
def test_client_without_fast_open_is_told_so(fastopen):
    ends = Ends(fastopen)
    client = ends.socket()
    assert errno_of(client.sendto, QUESTION, MSG_FASTOPEN, SERVER) == errno.EOPNOTSUPP
    assert errno_of(client.setsockopt, T, TCP_FASTOPEN_CONNECT, 1) == errno.EOPNOTSUPP
    ends.here.close()
    ends.there.close()


def test_connect_with_the_option_waits_for_the_first_send(met):
    client = met.socket(0)
    client.setsockopt(T, TCP_FASTOPEN_CONNECT, 1)
    assert client.getsockopt(T, TCP_FASTOPEN_CONNECT) == 1
    began = met.now_ms()
    client.connect(SERVER)
    assert levels(client) == (False, True)
    assert client.send(QUESTION) == len(QUESTION)
    assert levels(client) == (False, False)
    accepted, _ = met.server.accept()
    assert accepted.recv(100) == QUESTION
    assert met.now_ms() - began == 10
    accepted.sendall(b"42")
    client.settimeout(5)
    client.sendall(b"more")
    assert client.recv(100) == b"42"
    assert accepted.recv(100) == b"more"


def test_connect_with_the_option_and_no_cookie_connects_as_ever(ends):
    client = ends.socket()
    client.setsockopt(T, TCP_FASTOPEN_CONNECT, 1)
    client.connect(SERVER)
    assert client.getpeername() == SERVER
    blocked = ends.socket(0)
    blocked.setsockopt(T, TCP_FASTOPEN_CONNECT, 1)
    assert blocked.connect_ex(SERVER) == 0, "now there is one"


def test_connect_with_the_option_is_refused_at_the_next_call(met):
    met.server.close()
    client = met.socket()
    client.setsockopt(T, TCP_FASTOPEN_CONNECT, 1)
    client.connect(SERVER)
    client.sendall(QUESTION)
    with pytest.raises(ConnectionRefusedError):
        client.recv(100)


def test_fast_open_options_are_for_sockets_that_are_not_connected(met):
    """EINVAL as Linux says it."""
    client = met.socket()
    for value in (-1, 2):
        assert errno_of(client.setsockopt, T, TCP_FASTOPEN_CONNECT, value) == errno.EINVAL
    assert errno_of(met.server.setsockopt, T, TCP_FASTOPEN_CONNECT, 1) == errno.EINVAL
    assert errno_of(client.setsockopt, T, TCP_FASTOPEN, -1) == errno.EINVAL
    client.connect(SERVER)
    assert errno_of(client.setsockopt, T, TCP_FASTOPEN, 1) == errno.EINVAL
    assert errno_of(client.setsockopt, T, TCP_FASTOPEN_CONNECT, 1) == errno.EINVAL
    met.server.setsockopt(T, TCP_FASTOPEN, 1 << 20)
    assert met.server.getsockopt(T, TCP_FASTOPEN) == socket.SOMAXCONN
