"""Much at once between the stack and the kernel: 100 MB each way, and readers that stop for seconds."""

import hashlib
import os
import socket
import time

import pytest

from scapystack.sockets.services import start_services
from scapystack.sockets.services.source import pattern
from tests.interop.netns import KERNEL, STACK
from tests.interop.peers import (
    Doing,
    Sizes,
    connection_of,
    drained,
    exactly,
    kernel_receives,
    kernel_sends,
    said,
    sha256,
    until,
)

HUNDRED = 100_000_000
PORT = 5001
FRAME = 1514
LARGEST = 14 + 65_535
STALL_S = 3.0


@pytest.fixture
def lan(shared_lan):
    return shared_lan


@pytest.fixture
def server(lan):
    with lan.stack.create_server((STACK, PORT)) as made:
        made.settimeout(10)
        yield made


def test_100_megabytes_from_the_kernel_arrive_the_same(lan, server):
    with Sizes(lan.stack) as sizes:
        sending = kernel_sends(lan.ns, PORT, HUNDRED)
        sock, _ = server.accept()
        with sock:
            sock.settimeout(20)
            size, digest = drained(sock)
    assert [digest] == said(sending)
    assert size == HUNDRED
    # offload is what it says: super-segments with it, and nothing above the MTU without
    assert (sizes.largest["rx"] > FRAME) == lan.offload
    assert sizes.largest["tx"] <= FRAME


def test_100_megabytes_of_the_stack_arrive_the_same(lan):
    receiving = kernel_receives(lan.ns, KERNEL, PORT)
    digest, left = hashlib.sha256(), HUNDRED
    with lan.stack.create_connection((KERNEL, PORT), timeout=20) as sock, Sizes(lan.stack) as sizes:
        while left:
            data = os.urandom(min(left, 1 << 20))
            digest.update(data)
            sock.sendall(data)
            left -= len(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert said(receiving) == [str(HUNDRED), digest.hexdigest()]
    assert sizes.largest["tx"] > FRAME
    assert sizes.largest["rx"] <= FRAME


def test_source_sends_as_much_as_it_was_asked_for(lan):
    size = 20_000_001
    [source] = start_services(lan.stack, "source")
    with lan.ns.connect(source.local_port) as sock:
        sock.sendall(b"%d\n" % size)
        assert drained(sock) == (size, sha256(pattern(0, size)))
    source.close()


def test_what_nobody_sees_passes_in_frames_that_ipv4_has_no_number_for(lan, server, monkeypatch):
    """To the kernel itself, where it takes such; what it sends is joined. A tap has both as they were."""
    link, lengths, data = lan.link, [], os.urandom(20 << 20)
    write = link.write

    def noted(frames):
        lengths.extend(map(len, frames))
        write(frames)

    monkeypatch.setattr(link, "write", noted)
    with lan.ns.connect(PORT) as theirs, server.accept()[0] as ours:
        ours.settimeout(20)
        for source, sink in ((ours, theirs), (theirs, ours)):
            writing = Doing(source.sendall, data)
            assert sha256(exactly(sink, len(data))) == sha256(data)
            writing.result()
        assert (max(lengths) > LARGEST) == (link.gso_kernel > 0)
        with Sizes(lan.stack) as sizes:
            writing = Doing(ours.sendall, data)
            assert sha256(exactly(theirs, len(data))) == sha256(data)
            writing.result()
        assert sizes.largest["tx"] <= LARGEST


def test_both_ways_at_once_arrive_the_same(lan, server):
    data = os.urandom(10 << 20), os.urandom(10 << 20)
    with lan.ns.connect(PORT) as theirs, server.accept()[0] as ours:
        ours.settimeout(20)
        writing = [Doing(theirs.sendall, data[0]), Doing(ours.sendall, data[1])]
        reading = [Doing(exactly, ours, len(data[0])), Doing(exactly, theirs, len(data[1]))]
        assert reading[0].result() == data[0]
        assert reading[1].result() == data[1]
        for each in writing:
            each.result()


def test_stalled_readers_close_the_window_and_lose_nothing(lan, server):
    """Both applications stop reading for three seconds, each on a connection of its own (RFC 9293 section 3.8.6.1)."""
    size = 16 << 20
    data = os.urandom(size)
    ours_in, theirs_in, ours_out, theirs_out = open_two(lan, server)
    sending = Doing(theirs_in.sendall, data), Doing(ours_out.sendall, data)
    inward, outward = connection_of(lan.stack, ours_in), connection_of(lan.stack, ours_out)
    until(lambda: inward.info().rcv_wnd < inward.info().advmss)
    until(lambda: outward.info().snd_wnd == 0)
    probes = lan.stack.net.counters["tcp.window_probes"]
    held, taken, expected = inward.available, outward.snd_una, inward.rcv_nxt
    time.sleep(STALL_S)
    assert inward.available - held < inward.info().advmss, "the window was overrun"
    assert inward.available <= inward.options.rcvbuf + (1 << inward.rcv_wscale)  # rounded up to the window field's unit
    assert outward.info().snd_wnd == 0
    assert (outward.snd_una - taken) & 0xFFFFFFFF < 1 << 20
    # 0.2, 0.6, 1.4 and 3.0 s after the window has closed (SHLD-29, SHLD-30)
    assert 3 <= lan.stack.net.counters["tcp.window_probes"] - probes <= 8
    reading = Doing(exactly, ours_in, size), Doing(exactly, theirs_out, size)
    # both go on by the window update, not by a probe: the next ones are seconds away
    until(lambda: outward.snd_wnd > 0, 1.5)
    until(lambda: inward.rcv_nxt - expected & 0xFFFFFFFF > 1 << 20, 1.5)
    assert [sha256(each.result(30)) for each in reading] == [sha256(data)] * 2
    for each in sending:
        each.result()
    for sock in (ours_in, theirs_in, ours_out, theirs_out):
        sock.close()


def open_two(lan, server):
    """A connection in and one out, as pairs of sockets of the stack's and the kernel's."""
    theirs_in = lan.ns.connect(PORT)
    ours_in, _ = server.accept()
    with lan.ns.socket() as listener:
        listener.bind((KERNEL, 0))
        listener.listen(1)
        ours_out = lan.stack.create_connection(listener.getsockname(), timeout=20)
        theirs_out, _ = listener.accept()
    for sock in (theirs_in, ours_in, ours_out, theirs_out):
        sock.settimeout(20)
    return ours_in, theirs_in, ours_out, theirs_out
