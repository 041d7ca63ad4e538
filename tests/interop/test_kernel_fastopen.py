"""TCP Fast Open between the stack and the kernel, in both roles, judged by the frames on the TAP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP

from scapystack.base.config import StackConfig
from tests.interop.netns import KERNEL, STACK, stack_on_tap
from tests.interop.peers import connection_of, exactly

PORT = 5300
QUESTION = b"what is the answer? "
ANSWER = b"forty-two"


class Seen:
    """The SYNs and SYN-ACKs that passed, as (flags, TFO cookie or None, octets of data)."""

    def __init__(self, stack) -> None:
        self.all: list[tuple[str, bytes | None, int]] = []
        stack.net.taps.append(self._look)

    def _look(self, way, frame) -> None:
        tcp = frame.packet.getlayer(TCP)
        if tcp is not None and tcp.flags.S:
            self.all.append((str(tcp.flags), _cookie(tcp), len(tcp.payload)))

    def take(self) -> list[tuple[str, bytes | None, int]]:
        seen, self.all = self.all, []
        return seen


def _cookie(tcp: TCP) -> bytes | None:
    data = bytes(tcp)[20 : tcp.dataofs * 4]
    at = 0
    while at < len(data) and data[at]:
        if data[at] == 1:
            at += 1
            continue
        if data[at] == 34:
            return data[at + 2 : at + data[at + 1]]
        at += data[at + 1]
    return None


@pytest.fixture(params=[True, False], ids=["offload", "no-offload"])
def lan(request, netns) -> Iterator:
    netns.sysctl("net.ipv4.tcp_fastopen", 3)
    config = StackConfig()
    config.tcp.fastopen = 3
    made = stack_on_tap(netns, offload=request.param, config=config)
    yield made
    made.stack.close()


@pytest.fixture
def seen(lan) -> Seen:
    return Seen(lan.stack)


def _no_data_in_syns(frame):
    """A middlebox, as a hook: it swallows SYNs with data."""
    tcp = frame.packet.getlayer(TCP)
    return None if tcp is not None and tcp.flags.S and len(tcp.payload) else frame


# -- the stack serves ----------------------------------------------------------------------------------------


def _kernel_asks(lan, server) -> socket.socket:
    """The kernel connects with Fast Open and asks; the stack answers. The kernel's socket."""
    theirs = lan.ns.socket()
    theirs.setblocking(False)
    try:
        theirs.sendto(QUESTION, socket.MSG_FASTOPEN, (STACK, PORT))
    except BlockingIOError:
        theirs.settimeout(10)
        ours, _ = server.accept()
        theirs.sendall(QUESTION)
    else:
        theirs.settimeout(10)
        ours, _ = server.accept()
    with ours:
        assert exactly(ours, len(QUESTION)) == QUESTION
        ours.sendall(ANSWER)
        assert exactly(theirs, len(ANSWER)) == ANSWER
    return theirs


@pytest.fixture
def server(lan):
    with lan.stack.socket() as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        made.bind((STACK, PORT))
        made.listen()
        made.settimeout(10)
        yield made


def test_kernel_gets_a_cookie_and_sends_data_in_its_next_syn(lan, server, seen):
    _kernel_asks(lan, server).close()
    (ask, given) = seen.take()
    assert ask == ("S", b"", 0)
    cookie = given[1]
    assert given == ("SA", cookie, 0)
    assert cookie
    assert len(cookie) == 8
    _kernel_asks(lan, server).close()
    assert seen.take() == [("S", cookie, len(QUESTION)), ("SA", None, 0)]
    assert lan.stack.net.counters["tcp.fastopen_passive"] == 1


def test_kernel_with_a_cookie_that_the_stack_forgot_gets_a_new_one(lan, server, seen):
    _kernel_asks(lan, server).close()
    old = seen.take()[1][1]
    lan.stack.net.tcp.fastopen_cookies._secret = bytes(32)
    lan.stack.net.tcp.fastopen_cookies._epoch = -1
    _kernel_asks(lan, server).close()
    (syn, answer) = seen.take()
    assert syn == ("S", old, len(QUESTION))
    assert answer[1] not in (None, old)
    _kernel_asks(lan, server).close()
    assert seen.take()[0] == ("S", answer[1], len(QUESTION))


def test_kernel_falls_back_where_the_stack_has_fast_open_off(lan, server, seen):
    _kernel_asks(lan, server).close()
    seen.take()
    lan.stack.net.config.tcp.fastopen = 0
    _kernel_asks(lan, server).close()
    (syn, answer) = seen.take()
    assert syn[2] == len(QUESTION)
    assert answer == ("SA", None, 0)


def test_kernel_gets_through_a_box_that_swallows_data_in_syns(lan, server, seen):
    _kernel_asks(lan, server).close()
    seen.take()
    lan.stack.net.hooks.rx.append(_no_data_in_syns)
    _kernel_asks(lan, server).close()
    assert [(flags, size) for flags, _, size in seen.take()] == [("S", len(QUESTION)), ("S", 0), ("SA", 0)]


# -- the stack connects --------------------------------------------------------------------------------------


@pytest.fixture
def kernel_server(lan):
    with lan.ns.socket() as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        made.bind((KERNEL, PORT))
        made.listen()
        yield made


def _stack_asks(lan, kernel_server, size: int = len(QUESTION)):
    """The stack connects with Fast Open and asks; the kernel answers. The stack's TCP connection."""
    question = (QUESTION * size)[:size]
    with lan.stack.socket() as ours:
        ours.settimeout(10)
        assert ours.sendto(question, socket.MSG_FASTOPEN, (KERNEL, PORT)) == size
        theirs, _ = kernel_server.accept()
        theirs.settimeout(10)
        with theirs:
            assert exactly(theirs, size) == question
            theirs.sendall(ANSWER)
            assert exactly(ours, len(ANSWER)) == ANSWER
            return connection_of(lan.stack, ours)


def test_stack_gets_a_cookie_and_sends_data_in_its_next_syn(lan, kernel_server, seen):
    c = _stack_asks(lan, kernel_server)
    assert not c.syn_data
    ask, given = seen.take()
    assert ask == ("S", b"", 0)
    cookie = given[1]
    assert cookie
    c = _stack_asks(lan, kernel_server)
    assert c.syn_data
    assert seen.take() == [("S", cookie, len(QUESTION)), ("SA", None, 0)]
    assert lan.stack.net.counters["tcp.fastopen_active"] == 1


def test_stack_sends_as_much_in_its_syn_as_fits_and_the_rest_behind(lan, kernel_server, seen):
    _stack_asks(lan, kernel_server)
    seen.take()
    assert _stack_asks(lan, kernel_server, 100_000).syn_data
    (syn, _) = seen.take()
    assert syn[2] == 1460 - 32  # MSS, SACK and timestamps, window scale, cookie


def test_stack_with_a_cookie_that_the_kernel_forgot_sends_the_data_again(lan, kernel_server, seen):
    _stack_asks(lan, kernel_server)
    old = seen.take()[1][1]
    lan.ns.sysctl("net.ipv4.tcp_fastopen_key", "01020304-05060708-090a0b0c-0d0e0f00")
    c = _stack_asks(lan, kernel_server)
    assert not c.syn_data
    syn, answer = seen.take()
    assert syn == ("S", old, len(QUESTION))
    assert answer[1] not in (None, old)
    assert _stack_asks(lan, kernel_server).syn_data
    assert seen.take()[0] == ("S", answer[1], len(QUESTION))


def test_stack_falls_back_where_the_kernel_has_fast_open_off(lan, kernel_server, seen):
    _stack_asks(lan, kernel_server)
    seen.take()
    lan.ns.sysctl("net.ipv4.tcp_fastopen", 1)
    _stack_asks(lan, kernel_server)
    assert seen.take()[1] == ("SA", None, 0)
    _stack_asks(lan, kernel_server)
    assert seen.take()[0] == ("S", None, 0), "a failure is remembered"
    assert lan.stack.net.counters["tcp.fastopen_active_fail"] == 1


def test_stack_gets_through_a_box_that_swallows_data_in_syns(lan, kernel_server, seen):
    _stack_asks(lan, kernel_server)
    seen.take()
    lan.stack.net.hooks.tx.append(_no_data_in_syns)
    _stack_asks(lan, kernel_server)
    assert lan.stack.net.counters["hooks.drop.tx"] == 1
    assert seen.take() == [("S", None, 0), ("SA", None, 0)]
    lan.stack.net.hooks.tx.clear()
    _stack_asks(lan, kernel_server)
    assert seen.take()[0] == ("S", None, 0), "the path is left alone for a while"


def test_stack_is_fast_through_tcp_fastopen_connect_too(lan, kernel_server, seen):
    _stack_asks(lan, kernel_server)
    seen.take()
    with lan.stack.socket() as ours:
        ours.settimeout(10)
        ours.setsockopt(socket.IPPROTO_TCP, 30, 1)
        ours.connect((KERNEL, PORT))
        assert seen.take() == []
        ours.sendall(QUESTION)
        theirs, _ = kernel_server.accept()
        with theirs:
            assert exactly(theirs, len(QUESTION)) == QUESTION
    assert seen.take()[0][2] == len(QUESTION)
