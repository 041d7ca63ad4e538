"""A running stack on a TAP: the loop, other threads, captures and impairments beside a real kernel."""

import socket
import threading
import time

import pytest

from scapystack.base.types import MILLISECOND
from scapystack.link.capture import CaptureLink
from scapystack.link.impair import ImpairedLink, Impairment, drop, tcp
from scapystack.link.pcapfile import INBOUND, OUTBOUND
from scapystack.link.pcapread import read_capture
from tests.interop.netns import KERNEL, STACK, needs, stack_on_tap


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@needs("ping")
def test_ping_is_answered(lan):
    lan.ns.run("ping", "-c", 3, "-i", 0.05, "-W", 5, STACK)
    lan.ns.run("ping", "-c", 1, "-s", 60_000, "-W", 5, STACK)


def test_idle_stack_sleeps(lan):
    thread = lan.stack._thread._thread
    assert thread.is_alive()
    clock = time.pthread_getcpuclockid(thread.ident)
    before = time.clock_gettime_ns(clock)
    time.sleep(0.5)
    assert time.clock_gettime_ns(clock) - before < 20 * MILLISECOND


def test_stop_of_a_sleeping_loop_is_prompt(lan):
    start = time.monotonic()
    lan.stack.close()
    assert time.monotonic() - start < 1.0
    assert lan.ns.net.find("tap0") is None


def test_thread_of_an_application_sends_by_itself(lan):
    with lan.ns.socket(socket.SOCK_DGRAM) as kernel, lan.stack.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        kernel.bind((KERNEL, 5000))
        for number in range(20):
            ours.sendto(b"%d" % number, (KERNEL, 5000))
            data, where = kernel.recvfrom(100)
            assert data == b"%d" % number
            kernel.sendto(b"answer", where)
            assert ours.recv(100) == b"answer"


def test_timer_set_by_another_thread_is_not_slept_over(lan):
    times = []
    with lan.stack.driver.entered() as net:
        owner = Timer(net.core, 30 * MILLISECOND, times)
        net.core.timers.arm(owner, owner.at)
        started = net.core.now
    wait_for(lambda: times)
    assert 30 * MILLISECOND <= times[0] - started < 500 * MILLISECOND


def test_short_sleep_ends_in_the_same_millisecond(lan):
    """Epoll alone would round 300 us up to a millisecond, and end every sleep 700 us late."""
    late = []
    for _ in range(20):
        times = []
        with lan.stack.driver.entered() as net:
            owner = Timer(net.core, 300_000, times)
            net.core.timers.arm(owner, owner.at)
            due = owner.at
        wait_for(lambda times=times: times)
        late.append(times[0] - due)
    assert 0 <= min(late) < 400_000


class Timer:
    """An owner of one deadline, as the timer heap wants it."""

    def __init__(self, core, after, times):
        self.heap_at = None
        self.at = core.now + after
        self._times = times

    def next_at(self):
        return self.at

    def expire(self, now):
        self._times.append(now)
        self.at = None


def test_interface_deleted_under_a_running_stack_is_said_and_survived(lan, caplog):
    lan.ns.net.delete("tap0")
    net = lan.stack.net
    wait_for(lambda: net.counters["driver.links_lost"])
    assert "the interface is gone" in caplog.text
    assert not net.interfaces[1].up
    # the rest goes on: the loopback carries a connection
    here = ("127.0.0.1", 80)
    with lan.stack.create_server(here) as server, lan.stack.create_connection(here, timeout=5) as client:
        client.sendall(b"still here")
        assert server.accept()[0].recv(100) == b"still here"


def test_error_of_an_application_is_logged_once_and_harms_nobody(lan, caplog):
    ran = []

    def bad():
        raise ValueError("of an application")

    for _ in range(3):
        lan.stack.driver.call_soon(bad)
    lan.stack.driver.call_soon(lambda: ran.append(threading.current_thread().name))
    wait_for(lambda: ran)
    assert ran == ["scapystack"]
    assert caplog.text.count("ValueError: of an application in call_soon") == 1
    assert lan.stack.net.counters["driver.errors"] == 3


def exchange(lan, size):
    """A transfer each way, whole."""
    text = bytes(range(256)) * (size // 256)
    with lan.stack.create_server((STACK, 80)) as server, lan.ns.connect(80) as client:
        server.settimeout(20)
        ours, _ = server.accept()
        with ours:
            ours.settimeout(20)
            sender = threading.Thread(target=client.sendall, args=(text,))
            sender.start()
            with ours.makefile("rb") as file:
                assert file.read(len(text)) == text
            sender.join()
            sender = threading.Thread(target=ours.sendall, args=(text,))
            sender.start()
            with client.makefile("rb") as file:
                assert file.read(len(text)) == text
            sender.join()


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no-offload"])
@needs("tcpdump")
def test_capture_of_a_transfer_opens_in_tcpdump(netns, tmp_path, offload):
    file = tmp_path / "transfer.pcapng"
    lan = stack_on_tap(netns, offload=offload, wrap=lambda link: CaptureLink(link, file))
    exchange(lan, 500_000)
    packets = read_capture(file)  # whole while it is still being written
    lan.stack.close()
    assert {p.interface for p in packets} == {"tap0"}
    assert {p.direction for p in packets} == {INBOUND, OUTBOUND}
    # what the stack sends is still whole here; what it receives is cut by the kernel where it must be
    assert (max(p.size for p in packets if p.direction == INBOUND) > 10_000) == offload
    for family in ("tcp", "arp"):
        assert netns.run("tcpdump", "-nr", file, family).count(b"\n") > 0
    # -v has tcpdump verify checksums, which are open on the TAP and finished in the file
    told = netns.run("tcpdump", "-nvvr", file, "tcp")
    assert told.count(b"(correct)") > 10
    assert b"incorrect" not in told


def test_impairments_on_a_tap_are_overcome(netns):
    wrapped = []

    def wrap(link):
        faults = Impairment(loss=0.02, duplicate=0.02, reorder=0.02, corrupt=0.01, delay_ms=1)
        wrapped.append(ImpairedLink(link, seed=3, rx=faults, tx=Impairment(loss=0.02, delay_ms=1)))
        wrapped[0].rx.rule(drop, tcp("S"), count=1)
        return wrapped[0]

    lan = stack_on_tap(netns, offload=True, wrap=wrap)
    exchange(lan, 200_000)
    lan.stack.close()
    assert wrapped[0].rx.rules[0].hits == 1
    assert wrapped[0].rx.lost > 1
    assert wrapped[0].tx.lost > 0
