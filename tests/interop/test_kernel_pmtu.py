"""A narrow link behind a kernel that routes: its ICMP is believed (RFC 1191), and done without (RFC 4821).

    the stack --TAP, 1500-- router --1400, but 1500 on the way back-- a kernel that takes 1500

Where nftables drops what the router would say, packets over 1,400 octets vanish: a black hole.
"""

import hashlib
import os
import socket
import time
from contextlib import contextmanager

import pytest

from tests.interop.netns import KERNEL, LIMIT_S, STACK, Namespace, needs, stack_on_tap
from tests.interop.peers import Doing, connection_of, drained, kernel_receives, said, sha256

FAR, FAR_ROUTER = "10.0.2.2", "10.0.2.1"
NARROW = 1_400
LARGEST = NARROW - 52
"""Octets of text in the largest segment with timestamps that passes."""
PORT = 5_004
SIZE = 3_000_000

_SWALLOW = """
table ip hole {
  chain says {
    type filter hook output priority 0;
    icmp type destination-unreachable counter drop
  }
}
"""


class NarrowWay:
    """A stack, the router next to it, and the host `far` behind the narrow link."""

    def __init__(self, offload):
        self.router, self.far = Namespace(), Namespace()
        self.lan = stack_on_tap(self.router, offload=offload)
        self.stack = self.lan.stack
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.router.net.add_veth("wire", "eth0", self.far.name)
        for ns, name, address in ((self.router, "wire", FAR_ROUTER), (self.far, "eth0", FAR)):
            ns.net.add_address(name, f"{address}/24")
            ns.net.set_up(name)
        self.router.net.set_mtu("wire", NARROW)
        self.far.net.add_route("default", via=FAR_ROUTER)
        with self.stack.driver.entered() as net:
            net.add_route("default", via=KERNEL)

    @property
    def counters(self):
        return self.stack.net.counters

    def send(self, data):
        """Send to the far host, all of it; the time that it took, and the size of segments at its end."""
        began = time.monotonic()
        with self.sending() as (connection, sock, digest):
            sock.sendall(data)
            digest.update(data)
        return time.monotonic() - began, connection.snd_mss

    def send_until(self, condition):
        """Send, a window of a few segments at a time, until `condition(connection)` holds; the segments' size."""
        end = time.monotonic() + LIMIT_S
        with self.sending() as (connection, sock, digest):
            connection.options.sndbuf = 20_000  # a probe that is lost costs so many round trips
            while not condition(connection):
                assert time.monotonic() < end
                data = os.urandom(20_000)
                sock.sendall(data)
                digest.update(data)
        return connection.snd_mss

    @contextmanager
    def sending(self):
        """A connection to the far host, which must get all whose digest the body takes."""
        receiving = kernel_receives(self.far, FAR, PORT)
        digest = hashlib.sha256()
        with self.stack.create_connection((FAR, PORT), timeout=LIMIT_S) as sock:
            yield connection_of(self.stack, sock), sock, digest
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        assert said(receiving)[1] == digest.hexdigest()

    def close(self):
        self.stack.close()
        self.far.close()
        self.router.close()


@pytest.fixture(params=[True, False], ids=["offload", "no-offload"])
def way(request):
    made = NarrowWay(request.param)
    yield made
    made.close()


@pytest.fixture
def hole(way):
    """The same, and the router is silent."""
    way.router.run("nft", "-f", "-", data=_SWALLOW.encode())
    return way


def test_error_of_the_narrow_link_sets_the_size_at_once(way):
    """1191/6-8201/4: no timeout, no loss of speed, and the next connection begins with it."""
    _, mss = way.send(os.urandom(SIZE))
    assert mss == LARGEST
    assert way.counters["tcp.pmtu_reductions"] == 1
    assert way.counters["tcp.timeouts"] == 0
    way.send(os.urandom(SIZE))
    assert way.counters["tcp.pmtu_reductions"] == 1


def test_error_of_the_narrow_link_about_a_server_s_segments(way):
    """1191/6-8201/4: the other role."""
    data = os.urandom(SIZE)
    with way.stack.create_server((STACK, PORT)) as server:
        server.settimeout(LIMIT_S)
        with way.far.connect(PORT) as sock:
            receiving = Doing(drained, sock)
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(data)
                accepted.shutdown(socket.SHUT_WR)
                assert receiving.result() == (SIZE, sha256(data))
    assert way.counters["tcp.pmtu_reductions"] == 1


@needs("nft")
def test_black_hole_is_found_and_all_arrives(hole):
    """4821/7: two timeouts, and small segments from then on."""
    took, mss = hole.send(os.urandom(SIZE))
    assert 1024 <= mss <= LARGEST
    assert took < 5
    assert hole.counters["tcp.mtu_black_holes"] == 1
    assert hole.counters["tcp.pmtu_reductions"] == 0


@needs("nft")
def test_black_hole_size_is_found_and_kept_for_all(hole):
    """4821/7: the search comes to an end; section 5.2: the next connection knows."""
    mss = hole.send_until(lambda c: c.route.mtu < 1500)
    assert LARGEST - 8 < mss <= LARGEST
    holes, probes = hole.counters["tcp.mtu_black_holes"], hole.counters["tcp.mtu_probes"]
    took, again = hole.send(os.urandom(SIZE))
    assert again == mss
    assert took < 2
    assert (hole.counters["tcp.mtu_black_holes"], hole.counters["tcp.mtu_probes"]) == (holes, probes)


@needs("nft")
def test_black_hole_is_not_met_by_who_always_probes(hole):
    """4821/7: `mtu_probing` 2."""
    hole.stack.net.config.set("tcp.mtu_probing", "2")
    mss = hole.send_until(lambda c: c.snd_mss > LARGEST - 8)
    assert mss <= LARGEST
    assert hole.counters["tcp.mtu_black_holes"] == 0
