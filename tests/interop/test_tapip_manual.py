"""What tapip's author tried by hand, and the transcript of his document, against the real kernel.

The stack is at 10.0.0.1 on a TAP, the kernel at 10.0.0.2, as there. What he read from the net shell's
`debug` is read here from the stack's taps, in the words of `scapystack.describe`.
"""

import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from scapystack.base.config import StackConfig
from scapystack.describe import Describer
from scapystack.link.tap import TapLink
from tests.interop.netns import KERNEL, STACK, needs, stack_on_tap
from tests.interop.peers import Doing, drained, sha256, until

MAKEFILE = Path(__file__).parents[2] / "Makefile"
PORT = 12345
FAR_NET, FAR = "10.0.1.0/24", "10.0.1.1"


class Debug:
    """`debug` of the net shell: a line for each packet, `rx` or `tx` before it."""

    def __init__(self, stack):
        self.stack = stack
        self.describe = Describer()
        self.lines = []

    def _look(self, way, frame):
        self.lines.append(f"{way} {self.describe(frame)}")

    def __enter__(self):
        self.stack.net.taps.append(self._look)
        return self

    def __exit__(self, *error):
        self.stack.net.taps.remove(self._look)

    def count(self, pattern):
        return sum(bool(re.search(pattern, line)) for line in self.lines)


@pytest.fixture
def debug(lan):
    with Debug(lan.stack) as made:
        yield made


def routed(lan, forward=True):
    """Let the stack forward, and the host send what is for 10.0.1.0/24 to it."""
    lan.stack.net.config.ip.forward = forward
    lan.ns.net.add_route(FAR_NET, via=STACK)


# -- 1. ARP --------------------------------------------------------------------------------------------------


@needs("arping")
def test_1_arp_request_of_the_host_is_answered(lan, debug):
    lan.ns.run("arping", "-c", 1, "-w", 3, "-I", "tap0", STACK)
    assert debug.count(r"rx ARP, Request who-has 10\.0\.0\.1 .*tell 10\.0\.0\.2") == 1
    assert debug.count(rf"tx ARP, Reply 10\.0\.0\.1 is-at {lan.link.mac.hex(':')}") == 1


# -- 2. and 3. ping in fragments -------------------------------------------------------------------------------


def test_2_ping_of_6000_octets_goes_out_in_fragments_and_the_reply_is_put_together(lan, debug):
    reply = lan.stack.ping(KERNEL, size=6000, timeout=2)
    assert len(reply.data) == 6000
    assert debug.count("tx IP ") == debug.count("rx IP ") == 5
    assert lan.stack.net.counters["ip.reassembly.ok"] == 1


@needs("ping")
@pytest.mark.parametrize(("size", "fragments"), [(6_000, 5), (60_000, 41)])
def test_3_ping_of_the_host_comes_in_fragments_and_is_answered_whole(lan, debug, size, fragments):
    told = lan.ns.run("ping", "-c", 1, "-W", 3, "-s", size, STACK).decode()
    assert f"{size + 8} bytes from {STACK}" in told
    assert debug.count("rx IP ") == debug.count("tx IP ") == fragments


# -- 4. a route of the host's through the stack --------------------------------------------------------------------


@needs("ping")
def test_4_packet_for_a_network_without_a_route_is_unreachable(lan):
    routed(lan)
    told = lan.ns.run("ping", "-c", 1, "-W", 2, FAR, check=False).decode()
    assert f"From {STACK} icmp_seq=1 Destination Net Unreachable" in told


@needs("ping")
def test_4_packet_for_another_host_is_dropped_without_forwarding(lan, debug):
    routed(lan, forward=False)
    lan.ns.run("ping", "-c", 1, "-W", 0.3, FAR, check=False)
    assert debug.count("rx IP ") == 1
    assert debug.count("tx IP ") == 0


@needs("ping")
def test_4_packet_for_another_address_of_the_stack_is_answered(lan):
    routed(lan)
    with lan.stack.driver.entered() as net:
        net.add_address(net.interfaces[1], f"{FAR}/24")
    assert "1 received" in lan.ns.run("ping", "-c", 1, "-W", 2, FAR).decode()


@needs("ping")
def test_4_packet_for_a_network_on_another_interface_is_forwarded(lan, another_netns):
    routed(lan)
    link = TapLink("tap1", netns=another_netns.name, offload=lan.offload)
    another_netns.net.add_address("tap1", f"{FAR}/24")
    another_netns.net.set_up("tap1")
    another_netns.net.add_route("default", via="10.0.1.254")
    lan.stack.attach(link, "10.0.1.254/24")
    told = lan.ns.run("ping", "-c", 1, "-W", 2, FAR).decode()
    assert "1 received" in told
    assert "ttl=63" in told
    # and nobody at 10.0.1.7: four questions, then the host is unreachable
    lan.stack.net.config.arp.retry_ms = 50
    told = lan.ns.run("ping", "-c", 1, "-W", 3, "10.0.1.7", check=False).decode()
    assert f"From {STACK} icmp_seq=1 Destination Host Unreachable" in told


# -- 5. redirect and time exceeded -------------------------------------------------------------------------------


@pytest.fixture
def third_host(lan, another_netns):
    """10.0.0.3 on the same network: the TAP gets a bridge, the host's address moves to it."""
    ns = lan.ns
    ns.net.delete_address("tap0", f"{KERNEL}/24")
    ns.net.add_bridge("br0")
    ns.net.set_up("br0")
    ns.net.add_veth("port0", "eth0", another_netns.name)
    for port in ("tap0", "port0"):
        ns.net.set_master(port, "br0")
    ns.net.add_address("br0", f"{KERNEL}/24")
    another_netns.net.add_address("eth0", "10.0.0.3/24")
    ns.net.add_route("10.0.0.3/32", via=STACK)
    lan.stack.net.config.ip.forward = True


@needs("ping")
@pytest.mark.usefixtures("third_host")
def test_5_packet_for_a_neighbour_is_forwarded_and_the_host_redirected(lan, debug):
    told = lan.ns.run("ping", "-c", 1, "-W", 2, "10.0.0.3").decode()
    assert re.search(r"From 10\.0\.0\.1:? icmp_seq=1 Redirect Host ?\(New nexthop: 10\.0\.0\.3\)", told)
    assert "1 received" in told
    assert debug.count(r"tx IP 10\.0\.0\.1 > 10\.0\.0\.2: ICMP redirect") == 1


@needs("ping")
@pytest.mark.usefixtures("third_host")
def test_5_packet_with_ttl_1_is_answered_with_time_exceeded(lan):
    told = lan.ns.run("ping", "-c", 1, "-W", 2, "-t", 1, "10.0.0.3", check=False).decode()
    assert f"From {STACK} icmp_seq=1 Time to live exceeded" in told


# -- 6. a reassembly that never completes --------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["offload", "no-offload"])
def hasty(request, netns):
    """A stack that waits 0.2 s for missing fragments, with the host's raw sockets to send and to hear ICMP."""
    config = StackConfig()
    config.ip.reassembly_ms = 200
    lan = stack_on_tap(netns, offload=request.param, config=config)
    raw = netns.socket(socket.SOCK_RAW, 3, socket.IPPROTO_RAW)
    heard = netns.socket(socket.SOCK_RAW, 3, socket.IPPROTO_ICMP)
    with lan.stack, raw, heard:
        yield lan.stack, raw, heard


def test_6_reassembly_that_never_completes_is_time_exceeded(hasty):
    _, raw, heard = hasty
    raw.sendto(fragment(ident=0x7007, text=b"the rest never comes...."), (STACK, 0))
    answer = heard.recv(2000)
    assert answer[12:20] == socket.inet_aton(STACK) + socket.inet_aton(KERNEL)
    assert answer[20:22] == b"\x0b\x01"  # time exceeded, fragment reassembly
    quote = answer[28:]
    assert quote[4:6] == b"\x70\x07"
    assert quote[20:] == b"the rest never comes...."


def test_6_reassembly_without_its_first_fragment_ends_in_silence(hasty):
    """RFC 792: without fragment zero nobody is told."""
    stack, raw, heard = hasty
    raw.sendto(fragment(ident=1, text=bytes(24), offset=3), (STACK, 0))
    until(lambda: stack.net.counters["ip.reassembly.failed"] == 1)
    heard.settimeout(0.1)
    with pytest.raises(TimeoutError):
        heard.recv(2000)


def fragment(ident, text, offset=0):
    """A UDP packet's fragment with more to come; the kernel fills in length and checksum of the header."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 0, ident, 0x2000 | offset, 64, 17, 0)
    return header + socket.inet_aton(KERNEL) + socket.inet_aton(STACK) + text


# -- 7. the loopback ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [56, 65_000])
@pytest.mark.parametrize("address", [STACK, "127.0.0.1", "127.1.2.3"])
def test_7_ping_of_the_stacks_own_addresses_stays_inside(lan, address, size):
    interface = lan.stack.net.interfaces[1]
    sent = interface.tx_frames
    reply = lan.stack.ping(address, size=size, timeout=2)
    assert (reply.address, len(reply.data)) == (address, size)
    assert interface.tx_frames == sent


# -- 8. and 9. UDP out and in -----------------------------------------------------------------------------------------


@needs("nc")
def test_8_every_line_over_udp_arrives_the_first_one_too(lan, debug):
    """The first line waits for ARP's answer, it is not lost."""
    server = lan.ns.popen("nc", "-u", "-l", KERNEL, PORT, stdout=subprocess.PIPE)
    until(lambda: f":{PORT:04X} " in lan.ns.run("cat", "/proc/net/udp").decode())
    with lan.stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((KERNEL, PORT))
        with lan.stack.driver.lock:  # all of them before the answer can come
            for number in range(5):
                sock.send(b"line %d\n" % number)
        for number in range(5):
            assert server.stdout.readline() == b"line %d\n" % number
    assert debug.lines[0].startswith("tx ARP, Request who-has 10.0.0.2")
    server.kill()


@needs("nc")
def test_9_lines_of_the_host_over_udp_arrive(lan):
    with lan.stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((STACK, PORT))
        sock.settimeout(5)
        client = lan.ns.popen("nc", "-u", STACK, PORT, stdin=subprocess.PIPE)
        for number in range(5):
            client.stdin.write(b"line %d\n" % number)
            client.stdin.flush()
            assert sock.recv(100) == b"line %d\n" % number
        client.kill()


# -- 10. TCP in, the transcript ------------------------------------------------------------------------------------


@needs("nc")
def test_10_makefile_through_nc_appears_in_order_once(lan, debug):
    """`cat Makefile | nc 10.0.0.1 12345`, the client's FIN answered, our side closed on its own time."""
    text = MAKEFILE.read_bytes()
    with lan.stack.create_server((STACK, PORT)) as server:
        server.settimeout(5)
        client = lan.ns.popen("nc", "-N", STACK, PORT, stdin=subprocess.PIPE)
        sending = Doing(client.communicate, text, 10)
        sock, peer = server.accept()
        assert peer[0] == KERNEL
        with sock:
            sock.settimeout(5)
            assert drained(sock) == (len(text), sha256(text))
            assert client.poll() is None, "the client ended before we have closed our side"
            assert debug.count(r"tx .*Flags \[F") == 0
        sending.result()
    assert client.returncode == 0
    until(lambda: debug.count(r"rx .*Flags \[\.\], ack 2,"))
    assert [kind for kind in map(shape, debug.lines) if kind][:3] == ["rx S", "tx S.", "rx ."]
    assert "mss 1460,sackOK,TS" in debug.lines[[shape(line) for line in debug.lines].index("tx S.")]
    # tapip's peer had to use segments of 536 octets, for it sent no MSS
    assert max(int(n) for n in re.findall(r"rx .*length (\d+)", "\n".join(debug.lines))) > 536


def shape(line):
    """The direction and the flags of a TCP segment's line."""
    found = re.match(r"(rx|tx) .*Flags \[([^\]]+)\]", line)
    return f"{found[1]} {found[2]}" if found else ""


@needs("nc")
def test_10_makefile_through_scapystack_nc_appears_in_order_once(netns):
    """The transcript as a person types it, both programs real, snc's part played by `scapystack nc`."""
    ours = netns.popen(
        sys.executable, "-m", "scapystack", "nc", "-l", STACK, PORT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=MAKEFILE.parent,
    )  # fmt: skip
    assert b"listening" in ours.stderr.readline()
    with MAKEFILE.open("rb") as makefile:
        theirs = netns.popen("nc", STACK, PORT, "-N", stdin=makefile)
        told, _ = ours.communicate(timeout=20)
    assert told == MAKEFILE.read_bytes()
    assert theirs.wait(10) == ours.returncode == 0


def test_connect_to_a_port_nobody_listens_on_gets_a_reset(lan, debug):
    with pytest.raises(ConnectionRefusedError):
        lan.ns.connect(PORT)
    assert [kind for kind in map(shape, debug.lines) if kind] == ["rx S", "tx R."]


def test_datagrams_that_wait_for_arp_keep_their_order_whatever_their_size(lan):
    with lan.ns.socket(socket.SOCK_DGRAM, 3) as theirs, lan.stack.socket(type=socket.SOCK_DGRAM) as ours:
        theirs.bind((KERNEL, PORT))
        texts = [os.urandom(size) for size in (10, 3000, 20, 8000, 30)]
        with lan.stack.driver.lock:
            for text in texts:
                ours.sendto(text, (KERNEL, PORT))
        assert [theirs.recv(65_535) for _ in texts] == texts
