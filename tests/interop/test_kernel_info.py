"""TCP_INFO of the stack beside the kernel's own: the same struct, and the same numbers where both look at one path."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from scapystack.sockets.tcpinfo import STRUCT, unpack_tcp_info
from tests.interop.netns import KERNEL, STACK, Lan
from tests.interop.peers import exactly, until

T = socket.IPPROTO_TCP
PORT = 5060
LIMIT_S = 10
SIZE = 400_000
FRONTS = (104, 192, 224, 232, 240, 248, 280)
"""Lengths that struct tcp_info has had."""


@pytest.fixture(scope="module")
def lan(shared_lan: Lan) -> Lan:
    return shared_lan


@pytest.fixture(params=["stack accepts", "stack connects"])
def pair(request: pytest.FixtureRequest, lan: Lan) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the kernel's end."""
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


def told(sock: socket.socket) -> dict[str, int]:
    return unpack_tcp_info(sock.getsockopt(T, socket.TCP_INFO, 512))


def test_struct_is_as_long_as_the_kernels(pair: tuple[socket.socket, socket.socket]) -> None:
    """Or longer, beside a kernel that has not all of it yet; and cut to what is asked for."""
    ours, theirs = (sock.getsockopt(T, socket.TCP_INFO, 512) for sock in pair)
    assert len(ours) == STRUCT.size == 280
    assert len(theirs) in FRONTS or len(theirs) > 280
    for length in FRONTS:
        for sock in pair:
            assert len(sock.getsockopt(T, socket.TCP_INFO, length)) == min(length, len(theirs), 280)


def test_what_both_ends_know_agrees(lan: Lan, pair: tuple[socket.socket, socket.socket]) -> None:
    """What one end sent is what the other got, though a busy machine may make either send something twice."""
    ours, theirs = pair
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        for _ in range(20):
            sender.sendall(bytes(SIZE // 20))
            exactly(receiver, SIZE // 20)
    until(lambda: told(ours)["unacked"] == told(theirs)["unacked"] == 0)
    mine, its = told(ours), told(theirs)
    for name in ("state", "options", "snd_mss", "advmss", "pmtu", "reordering", "unacked", "fackets", "retransmits",
                 "probes", "backoff", "notsent_bytes", "bytes_received", "last_ack_sent", "rehash"):  # fmt: skip
        assert (name, mine[name]) == (name, its[name])
    assert mine["wscale"] == its["wscale"] >> 4 | (its["wscale"] & 15) << 4  # each side's two are the other's
    assert mine["snd_wnd"] >> (mine["wscale"] & 15) == its["rcv_wnd"] >> (mine["wscale"] & 15)
    assert mine["busy_time"] > 0
    for one, other in ((mine, its), (its, mine)):
        assert SIZE == one["bytes_sent"] - one["bytes_retrans"] == other["bytes_received"]
        assert one["bytes_acked"] in (SIZE, SIZE + 1)  # Linux counts the SYN that it sent
        assert one["data_segs_out"] >= SIZE // 1448
        if one is its or not lan.offload:  # of what a TAP gives it as one the kernel does not know how many it is
            assert 0 <= one["data_segs_out"] - other["data_segs_in"] <= one["total_retrans"]
        assert one["rcv_mss"] == 1448
        assert 0 < one["min_rtt"] <= one["rtt"] < 1_000_000
        assert 200_000 <= one["rto"] < 1_000_000
        assert one["delivery_rate"] > 100_000
        assert one["last_data_sent"] < 10_000


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_listener_tells_of_its_queue(lan: Lan, waiting: int) -> None:
    with lan.stack.create_server((STACK, PORT), backlog=7) as ours, lan.ns.socket() as theirs:
        theirs.bind((KERNEL, 0))
        theirs.listen(7)
        clients = [lan.ns.connect(PORT) for _ in range(waiting)]
        clients += [lan.stack.create_connection(theirs.getsockname(), timeout=LIMIT_S) for _ in range(waiting)]
        until(lambda: told(ours)["unacked"] == told(theirs)["unacked"] == waiting)
        for name in ("state", "unacked", "sacked"):
            assert told(ours)[name] == told(theirs)[name]
        for client in clients:
            client.close()


def test_congestion_control_is_read_and_set_as_the_kernels(pair: tuple[socket.socket, socket.socket]) -> None:
    for sock in pair:
        sock.setsockopt(T, socket.TCP_CONGESTION, b"reno")
        assert sock.getsockopt(T, socket.TCP_CONGESTION, 16) == b"reno".ljust(16, b"\0")
        assert sock.getsockopt(T, socket.TCP_CONGESTION, 3) == b"ren"
        with pytest.raises(FileNotFoundError):
            sock.setsockopt(T, socket.TCP_CONGESTION, b"nosuch")
        sock.setsockopt(T, socket.TCP_CONGESTION, b"cubic\0")
        assert sock.getsockopt(T, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"cubic"


def test_state_of_an_opening_and_of_a_closing_connection_is_the_kernels(lan: Lan) -> None:
    states = []
    for made, to in ((lan.stack.socket(), "10.0.0.77"), (lan.ns.socket(), "10.0.0.78")):
        made.setblocking(False)
        made.connect_ex((to, 9))
        states.append(told(made)["state"])
        made.close()
    assert states == [2, 2]  # SYN-SENT
