"""Ctrl-C: a program that waits in a socket call ends at once, and its stack goes on and can be closed.

The program is a process of its own with two stacks on a link in memory, so that a real SIGINT meets a
real main thread.
"""

import signal
import subprocess
import sys
import threading
import time

SAFETY_S = 30

PROGRAM = """
import os, socket, sys, threading
from scapystack import Stack
from scapystack.link.memory import MemoryLink

a, b = MemoryLink.pair()
with Stack("10.0.0.1/24", link=a, seed=1) as one, Stack("10.0.0.2/24", link=b, seed=2) as two:
    server = one.create_server(("", 4000))
    client = two.create_connection(("10.0.0.1", 4000), timeout=20)
    accepted, _ = server.accept()
    stalled = two.create_connection(("10.0.0.1", 4000), timeout=20)
    unread, _ = server.accept()
    limited = one.create_server(("", 4001))
    limited.settimeout(15)
    datagram = one.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lost = two.socket()
    blocking = {
        "recv": lambda: accepted.recv(1),
        "accept with a time-out": lambda: limited.accept(),
        "accept": lambda: server.accept(),
        "sendall": lambda: stalled.sendall(bytes(1 << 25)),
        "connect": lambda: lost.connect(("10.0.0.77", 80)),
        "udp": lambda: datagram.recv(1),
        "makefile": lambda: accepted.makefile("r").readline(),
        "ping": lambda: two.ping("10.0.0.77", timeout=15),
    }
    sockets = (server, limited, accepted, stalled, datagram, lost)

    def say_when_blocked(name):
        waiters = []
        while not waiters:
            os.sched_yield()
            pings = list(two.net.icmp.endpoints.values())
            channels = [s._channel for s in sockets] + [p.on_ready.__self__ for p in pings]
            waiters = [w for channel in channels for w in channel.readers + channel.writers]
        print(name, flush=True)

    for name, call in blocking.items():
        try:
            threading.Thread(target=say_when_blocked, args=(name,)).start()
            call()
            print("not interrupted")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    client.settimeout(20)
    accepted.settimeout(20)
    client.sendall(b"alive")
    print(accepted.recv(5, socket.MSG_WAITALL).decode())
print("closed")
"""

CALLS = ["recv", "accept with a time-out", "accept", "sendall", "connect", "udp", "makefile", "ping"]


def test_sigint_ends_every_blocked_call_at_once_and_the_stack_lives_on():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(4 * SAFETY_S, process.kill)  # a call that hangs fails the test, and does not hang it
        watchdog.start()
        try:
            for name in CALLS:
                assert process.stdout.readline() == f"{name}\n"
                begin = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.stdout.readline() == "interrupted\n"
                assert time.monotonic() - begin < 5
            out = process.stdout.read()  # not communicate(): readline() may have read ahead
            process.wait(SAFETY_S)
        finally:
            watchdog.cancel()
            process.kill()
    assert out == "alive\nclosed\n"
    assert process.returncode == 0
