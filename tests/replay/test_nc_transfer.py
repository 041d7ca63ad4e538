"""A recorded conversation against the stack: the peer's half is fed in frame by frame, ours is judged.

The recorded peer (a Linux kernel, 10.0.0.2) spoke to another stack, so what it said about that stack
is moved to ours: its acknowledgment numbers by the difference of the initial sequence numbers, and
where we have agreed on timestamps it sends them, echoing ours (RFC 7323 section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from scapy.utils import rdpcap

from scapystack.base.addr import ip
from scapystack.base.config import StackConfig
from scapystack.base.frames import Frame
from scapystack.base.offload import split
from scapystack.base.types import SECOND
from scapystack.layers.tcp.state import ESTABLISHED
from scapystack.layers.tcp.user import Connection
from scapystack.stack import NetStack

CAPTURE = Path(__file__).parents[2] / "pcaps" / "nc-transfer.pcap"
OURS, PEER, PORT = "10.0.0.1", "10.0.0.2", 12345
OUR_MAC, PEER_MAC = "00:34:45:67:89:ab", "ba:f2:bd:65:51:3a"
TEXT_SHA256 = "653a7b630257ded399494b5597f942b9e53d766aae4767e8520d1336d3c05a16"
MODES = ["compiled", "scapy", "paranoid"]


@dataclass
class Recording:
    """The capture: the peer's frames, and what it says that both sides would agree on."""

    peer: list[Packet]
    syn_ack: Packet
    text: bytes

    @classmethod
    def load(cls) -> Recording:
        frames = list(rdpcap(str(CAPTURE)))
        peer = [frame for frame in frames if frame[IP].src == PEER]
        syn_ack = next(frame for frame in frames if frame[IP].src == OURS)
        return cls(peer, syn_ack, b"".join(bytes(frame[TCP].payload) for frame in peer))


class Replay:
    """A stack at 10.0.0.1 with a listener, and the recorded peer as it would have spoken to it."""

    def __init__(self, codec: str, *, timestamps: bool = True) -> None:
        self.recording = Recording.load()
        config = StackConfig()
        config.tcp.timestamps = timestamps
        self.stack = NetStack(config, seed=8, codec=codec)
        self.iface = self.stack.add_interface("tap0", OUR_MAC)
        self.stack.add_address(self.iface, f"{OURS}/24")
        self.listener = self.stack.tcp.listen(ip(OURS), PORT, 4)
        self.syn_ack: Packet | None = None  # ours
        self.now = SECOND
        # the kernel had to ask for our address before its SYN: that frame is older than the capture
        (reply,) = self.feed(Ether(src=PEER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=PEER_MAC, psrc=PEER, pdst=OURS))
        assert (reply[ARP].op, reply[ARP].hwsrc, reply[ARP].psrc, reply.dst) == (2, OUR_MAC, OURS, PEER_MAC)

    def feed(self, *packets: Packet) -> list[Packet]:
        """Frames from the link in one burst; what leaves, finished as a link without offload would."""
        for packet in packets:
            self.stack.receive(Frame(bytes(packet), (), self.iface), self.now)
        self.stack.poll(self.now)
        return [Ether(wire.data) for frame in self.stack.take_frames() for wire in split(frame)]

    def moved(self, recorded: Packet) -> Packet:
        """A frame of the peer as it would have been sent to us instead of the recorded stack."""
        packet = recorded.copy()
        tcp = packet[TCP]
        if self.syn_ack is not None:
            ours = self.syn_ack[TCP]
            tcp.ack = (tcp.ack + ours.seq - self.recording.syn_ack[TCP].seq) % 2**32
            stamps = dict(ours.options).get("Timestamp")
            if stamps is not None:
                tcp.options = [("NOP", None), ("NOP", None), ("Timestamp", (stamps[1] + 1, stamps[0]))]
        # lengths and checksums follow from the rest
        del packet[IP].len, packet[IP].ihl, packet[IP].chksum, tcp.dataofs, tcp.chksum
        return packet

    def open(self) -> Connection:
        """The recorded handshake."""
        syn, ack, *_ = self.recording.peer
        (self.syn_ack,) = self.feed(self.moved(syn))
        assert self.feed(self.moved(ack)) == []
        connection = self.listener.accept()
        assert connection is not None
        assert connection.state == ESTABLISHED
        return connection


@pytest.mark.parametrize("codec", MODES)
def test_syn_of_the_capture_answered_with_syn_ack(codec: str) -> None:
    replay = Replay(codec)
    syn = replay.recording.peer[0]
    (answer,) = replay.feed(replay.moved(syn))
    assert (answer.src, answer.dst) == (OUR_MAC, PEER_MAC)
    assert (answer[IP].src, answer[IP].dst) == (OURS, PEER)
    tcp = answer[TCP]
    assert (tcp.sport, tcp.dport, str(tcp.flags)) == (PORT, syn[TCP].sport, "SA")
    assert tcp.ack == syn[TCP].seq + 1
    options = dict(tcp.options)
    assert options["MSS"] == 1460
    assert options["SAckOK"] == b""
    assert options["WScale"] == 7  # 4 MB of receive buffer
    assert options["Timestamp"][1] == dict(syn[TCP].options)["Timestamp"][0]
    assert_finished(answer)


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("codec", MODES)
def test_segments_of_the_capture_one_by_one_acked_and_delivered(codec: str, timestamps: bool) -> None:
    replay = Replay(codec, timestamps=timestamps)
    connection = replay.open()
    text = replay.recording.text
    start = replay.recording.peer[1][TCP].seq
    received = 0
    for segment in replay.recording.peer[2:]:
        packet = replay.moved(segment)
        (ack,) = replay.feed(packet)
        received += len(segment[TCP].payload)
        tcp = ack[TCP]
        assert str(tcp.flags) == "A"
        assert tcp.seq == packet[TCP].ack
        assert tcp.ack == start + received
        assert not tcp.payload
        echoed = dict(tcp.options).get("Timestamp", (0, 0))[1]
        assert echoed == (dict(packet[TCP].options)["Timestamp"][0] if timestamps else 0)
        assert_finished(ack)
    assert received == len(text) == 1608
    assert connection.read(10_000) == text
    assert sha256(text).hexdigest() == TEXT_SHA256


@pytest.mark.parametrize("codec", MODES)
def test_segments_of_the_capture_in_one_burst_acked_once(codec: str) -> None:
    replay = Replay(codec)
    connection = replay.open()
    segments = [replay.moved(segment) for segment in replay.recording.peer[2:]]
    (ack,) = replay.feed(*segments)
    assert ack[TCP].ack == segments[-1][TCP].seq + 536
    assert connection.read(10_000) == replay.recording.text


@pytest.mark.parametrize("codec", MODES)
def test_segments_of_the_capture_backwards_and_twice_delivered_once(codec: str) -> None:
    replay = Replay(codec)
    connection = replay.open()
    first, second, third = (replay.moved(segment) for segment in replay.recording.peer[2:])
    start = first[TCP].seq
    acks = [replay.feed(packet)[0][TCP] for packet in (third, second, second, first, third)]
    assert [tcp.ack - start for tcp in acks] == [0, 0, 0, 1608, 1608]
    blocks = [dict(tcp.options).get("SAck") for tcp in acks]
    assert blocks[0] == (start + 1072, start + 1608)
    assert blocks[1] == (start + 536, start + 1608)
    assert blocks[2] == (start + 536, start + 1072, start + 536, start + 1608)  # D-SACK: what came twice, first
    assert connection.read(10_000) == replay.recording.text


@pytest.mark.parametrize("codec", MODES)
def test_segment_of_the_capture_with_one_bit_changed_refused(codec: str) -> None:
    """MUST-3: the recorded checksums are the sender's; a frame that was touched must not pass."""
    replay = Replay(codec)
    connection = replay.open()
    octets = bytearray(bytes(replay.moved(replay.recording.peer[2])))
    octets[-1] ^= 1
    assert replay.feed(Ether(bytes(octets))) == []
    assert connection.available == 0
    assert replay.stack.counters["tcp.drop.checksum"] == 1


def assert_finished(packet: Packet) -> None:
    """Lengths and checksums are what Scapy would have written there."""
    again = packet.copy()
    del again[IP].len, again[IP].chksum, again[TCP].chksum, again[TCP].dataofs
    assert bytes(again) == bytes(packet)
