"""Ctrl-C: a program that waits in a socket call ends at once, and its stack can still be closed.

Each case is a process of its own with two stacks on a link in memory, so that a real SIGINT meets a
real main thread.
"""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

SAFETY_S = 20

PROGRAM = """
import os, socket, sys, threading
from scapystack import Stack
from scapystack.link.memory import MemoryLink

a, b = MemoryLink.pair()
with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2) as two:
    server = one.create_server(("", 4000))
    client = two.create_connection(("10.0.0.1", 4000), timeout=20)
    accepted, _ = server.accept()
    datagram = one.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lost = two.socket()

    def say_when_blocked():
        waiters = []
        while not waiters:
            os.sched_yield()
            pings = list(two.net.icmp.endpoints.values())
            channels = [s._channel for s in (server, accepted, datagram, lost)] + [p.on_ready.__self__ for p in pings]
            waiters = [w for channel in channels for w in channel.readers + channel.writers]
        print("ready", flush=True)

    try:
        threading.Thread(target=say_when_blocked).start()
        {call}
        print("not interrupted")
    except KeyboardInterrupt:
        client.settimeout(5)
        accepted.settimeout(5)
        client.sendall(b"alive")
        print("interrupted", accepted.recv(5, socket.MSG_WAITALL).decode())
print("closed")
"""

CALLS = {
    "recv": "accepted.recv(1)",
    "recv-with-time-out": "accepted.settimeout(15); accepted.recv(1)",
    "accept": "server.accept()",
    "connect": 'lost.connect(("10.0.0.77", 80))',
    "udp": "datagram.recv(1)",
    "makefile": 'accepted.makefile("r").readline()',
    "ping": 'two.ping("10.0.0.77", timeout=15)',
}


@pytest.mark.parametrize("call", CALLS)
def test_sigint_ends_a_blocked_call_at_once(call):
    code = textwrap.dedent(PROGRAM.replace("{call}", CALLS[call]))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SAFETY_S)
            took = time.monotonic() - begin
        finally:
            process.kill()
    assert out == b"interrupted alive\nclosed\n", (out, err)
    assert process.returncode == 0
    assert took < 5
