"""The replay of a UDP conversation, or of pings: datagram by datagram.

UDP is its application's alone: it sends what the recorded one sent, at that place among what the peer sends. Pings are
answered by the stack itself, and asked by an application. What the stack answers by itself (echo replies, port
unreachable) is expected where the recorded host did so. Read `tcp` first, which does the same for streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from scapystack.base.datagram import PROTO_ICMP, PROTO_UDP
from scapystack.base.guard import icmp_header, ipv4_header, udp_header
from scapystack.base.types import Nanoseconds
from scapystack.layers.icmp import EchoReply, PingEndpoint
from scapystack.layers.udp import UdpEndpoint
from scapystack.link.pcapread import CapturedPacket, CaptureReader
from scapystack.replay.conversations import ECHO_REQUEST, ERRORS, Conversation, quoted
from scapystack.replay.findings import Findings
from scapystack.replay.moved import moved_error
from scapystack.replay.packets import Packet, PacketMaker
from scapystack.replay.settings import ETHERNET_MTU, Terms
from scapystack.replay.stage import START, Stage
from scapystack.replay.transcript import Transcript

_HEADER = 8
_IP_HEADER = 20
_ETHERNET = 14
_SETTLE = 1_000_000


class DatagramReplay:
    """One conversation, the stack in the part of the opener or of the other side."""

    def __init__(
        self, conversation: Conversation, reader: CaptureReader, as_opener: bool, terms: Terms, transcript: Transcript
    ) -> None:
        self.conversation = conversation
        self.reader = reader
        self.transcript = transcript
        self.findings = Findings(transcript)
        self.as_opener = as_opener
        ends = (conversation.opener, conversation.other)
        self.our_end, self.peer_end = ends if as_opener else ends[::-1]
        self.maker = PacketMaker()
        self.shift: Nanoseconds = START - conversation.began_at
        self.lost: set[tuple[int, ...]] = set()  # of the peer's packets those that a router sent back
        self.stage, self.speaks, self.refuses = self._prepare(terms)
        self.stage.on_frame = self._left
        self.expected: deque[bytes] = deque()  # what the application has sent, and has not left
        self.answers: list[tuple[int, int, bytes]] = []  # what the stack has answered by itself
        self.heard: deque[bytes] = deque()  # what the peer has sent, and was not read
        self.endpoint: UdpEndpoint | PingEndpoint | None = None
        self.sent = self.received = 0

    def _prepare(self, terms: Terms) -> tuple[Stage, bool, bool]:
        """The stage; whether our side says anything of its own, and whether it refuses what comes."""
        speaks = refuses = False
        largest, fragment = 0, 0
        macs = None
        last: list[tuple[int, ...]] = []
        for packet in self.conversation.packets(self.reader):
            ours = self._is_ours(packet)
            if self._strangers(packet):
                self.lost.update(last[-1:])
                continue
            if macs is None and packet.macs is not None:
                to, source = packet.macs
                macs = (source, to) if ours else (to, source)
            if not ours:
                last.append(packet.places)
                continue
            error = packet.proto == PROTO_ICMP and packet.payload[0] in ERRORS
            refuses |= error
            speaks |= not error
            if packet.cuts:
                fragment = max(fragment, *packet.cuts)
            else:
                largest = max(largest, len(packet.payload))
        mtu = fragment + _IP_HEADER if fragment else max(ETHERNET_MTU, largest + _IP_HEADER)
        stage = Stage(terms.config(), self.our_end[0], self.peer_end[0], macs, mtu, terms.seed)
        return stage, speaks, refuses

    def _is_ours(self, packet: Packet) -> bool:
        """Whether the recorded host of our part has sent it."""
        payload = packet.payload
        if packet.proto == PROTO_UDP:
            return (packet.src, int.from_bytes(payload[:2], "big")) == self.our_end
        if payload[0] in ERRORS:
            about = quoted(packet, self.maker.core.codec)
            return about is not None and about[1] == self.peer_end != self.our_end
        return (payload[0] == ECHO_REQUEST) == self.as_opener

    def _strangers(self, packet: Packet) -> bool:
        """Whether this is a router's error about a packet of the peer's: it never came to us."""
        if packet.proto != PROTO_ICMP or packet.payload[0] not in ERRORS or packet.src == self.our_end[0]:
            return False
        about = quoted(packet, self.maker.core.codec)
        return about is not None and about[1] == self.peer_end != self.our_end

    # -- the recording ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Replay it all; what is wrong is in `findings`."""
        self._open()
        for packet in self.conversation.packets(self.reader):
            self.stage.run(packet.at + self.shift)
            packet.damaged = packet.damaged and self.conversation.damaged * 2 <= len(self.conversation.places)
            if packet.places in self.lost:
                self.transcript.add(self.stage.now, "x", _fields(packet))
            elif self._strangers(packet):
                continue
            elif not self._is_ours(packet):
                self._peers_turn(packet)
            elif packet.proto == PROTO_ICMP and (packet.payload[0] in ERRORS or not self.as_opener):
                self._answer(packet)
            else:
                self._our_turn(packet)
        self.stage.run(self.stage.now + _SETTLE)
        if self.expected:
            self.findings.add(f"{len(self.expected)} datagrams of the application never left")

    def _open(self) -> None:
        stack = self.stage.stack
        if self.conversation.proto == PROTO_ICMP:
            if self.as_opener:
                self.endpoint = stack.icmp.open(self.our_end[1])
        elif self.speaks or not self.refuses:
            endpoint = self.endpoint = stack.udp.bind(self.stage.ours, self.our_end[1])
            if self.as_opener:  # errors reach a connected endpoint
                endpoint.connect(self.stage.peer, self.peer_end[1])

    def _our_turn(self, packet: Packet) -> None:
        """The recorded application sent this."""
        endpoint = self.endpoint
        if endpoint is None or packet.damaged:
            return
        data = bytes(packet.payload[_HEADER:])
        self.expected.append(bytes(packet.payload[:4] if packet.proto == PROTO_UDP else packet.payload[4:8]) + data)
        endpoint.tos = packet.tos
        endpoint.ttl = packet.ttl if packet.ttl != self.stage.stack.config.ip.ttl else 0
        fits = len(packet.payload) + _IP_HEADER <= self.stage.iface.mtu
        df = packet.df and fits and not packet.cuts
        self._send(endpoint, packet, data, df)
        self.stage.settle()

    def _send(self, endpoint: UdpEndpoint | PingEndpoint, packet: Packet, data: bytes, df: bool) -> None:
        def send() -> None:
            if isinstance(endpoint, UdpEndpoint):
                endpoint.df = df
                endpoint.send(data, self.stage.peer, self.peer_end[1])
            else:
                endpoint.send(self.stage.peer, int.from_bytes(packet.payload[6:8], "big"), data, df=df)

        try:
            send()
        except OSError:  # what an ICMP error has told: the recorded application has sent all the same
            try:
                send()
            except OSError as error:
                self.findings.add(f"packet {packet.number} of the capture cannot be sent: {error.strerror}")
                self.expected.pop()

    def _peers_turn(self, packet: Packet) -> None:
        payload = bytearray(packet.payload)
        source = self.stage.sender(packet.src)
        if packet.proto == PROTO_ICMP and payload[0] in ERRORS:
            payload, _ = moved_error(self.maker.core.codec, packet, self.stage, 0)
        self.transcript.add(self.stage.now, "<", _fields(packet))
        if not packet.damaged and (packet.proto == PROTO_UDP or payload[0] not in ERRORS):
            self.heard.append(bytes(payload[_HEADER:]))
        self.stage.feed(packet, payload, source)
        self.stage.settle()
        if self.endpoint is not None:
            self._read(self.endpoint)

    def _read(self, endpoint: UdpEndpoint | PingEndpoint) -> None:
        """What came for the application must be what the peer has sent."""
        receive: Callable[[], object] = endpoint.recv
        while True:
            try:
                item = receive()
            except OSError:
                continue  # an ICMP error, told
            if item is None:
                break
            if isinstance(item, tuple):
                data = item[0]
            elif isinstance(item, EchoReply):
                data = item.data
            else:
                continue
            self.received += len(data)
            if not self.heard or self.heard.popleft() != data:
                self.findings.add(f"the application gets {len(data)} octets that the peer has not sent, or not now")
        if self.heard:
            self.findings.add(f"{len(self.heard)} datagrams of the peer do not reach the application")
            self.heard.clear()

    def _answer(self, packet: Packet) -> None:
        """The recorded host answered by itself: so must the stack have."""
        answer = _answer_of(packet)
        if answer in self.answers:
            self.answers.remove(answer)
        else:
            what = "an echo reply" if packet.payload[0] == 0 else f"ICMP type {answer[0]} code {answer[1]}"
            self.findings.add(f"packet {packet.number} of the capture is {what}; the stack has sent none like it")

    # -- the stack -------------------------------------------------------------------------------------

    def _left(self, octets: bytes) -> None:
        """A frame of the stack's; fragments are put together first."""
        reason = ipv4_header(octets, _ETHERNET, len(octets) - _ETHERNET)
        if reason:
            self.findings.add(f"the stack sends a packet whose IP header is wrong ({reason})")
            return
        packet = self.maker.packet(CapturedPacket(octets, self.stage.now, len(octets)))
        if packet is None:
            return
        payload = packet.payload
        self.transcript.add(self.stage.now, ">", _fields(packet))
        if packet.proto == PROTO_UDP:
            reason = udp_header(payload, packet.src, packet.dst)
        else:
            reason = icmp_header(payload) if packet.proto == PROTO_ICMP else "protocol"
        if reason:
            self.findings.add(f"the stack sends a packet whose header is wrong ({reason})")
            return
        if (packet.src, packet.dst) != (self.stage.ours, self.stage.peer):
            self.findings.add("from or to another address than the conversation's")
        if packet.proto == PROTO_ICMP and payload[0] != ECHO_REQUEST:
            self.answers.append(_answer_of(packet))
            if self.conversation.proto == PROTO_UDP and not self.refuses:
                self.findings.add("an ICMP error that the recording does not have")
            return
        named = payload[:4] if packet.proto == PROTO_UDP else payload[4:8]
        self.sent += len(payload) - _HEADER
        if not self.expected or self.expected.popleft() != bytes(named) + bytes(payload[_HEADER:]):
            self.findings.add("the stack sends a datagram that is not what its application has sent")

    # -- the end ---------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """There is none."""
        return ""

    @property
    def counts(self) -> tuple[int, int]:
        """Octets that the stack has sent for its application, and that this has received."""
        return self.sent, self.received


def _answer_of(packet: Packet) -> tuple[int, int, bytes]:
    """What two answers must have in common: type, code, and the echoed data."""
    payload = packet.payload
    echoed = b"" if payload[0] in ERRORS else bytes(payload[4:])
    return payload[0], payload[1], echoed


def _fields(packet: Packet) -> dict[str, str]:
    """A packet in words, for the transcript."""
    payload = packet.payload
    if packet.proto == PROTO_UDP:
        ports = f"{int.from_bytes(payload[:2], 'big')} > {int.from_bytes(payload[2:4], 'big')}"
        fields = {"UDP": ports, "length": str(len(payload) - _HEADER)}
    elif packet.proto == PROTO_ICMP and payload[0] in (0, 8):
        fields = {"ICMP": "echo request" if payload[0] else "echo reply", "seq": str(payload[6] << 8 | payload[7])}
        fields["length"] = str(len(payload) - _HEADER)
    elif packet.proto == PROTO_ICMP:
        fields = {"ICMP": f"type {payload[0]} code {payload[1]}"}
        if payload[0] == 3 and payload[1] == 4:
            fields["mtu"] = str(payload[6] << 8 | payload[7])
        fields["length"] = str(len(payload) - _HEADER)
    else:
        fields = {"protocol": str(packet.proto), "length": str(len(payload))}
    if packet.tos:
        fields["tos"] = hex(packet.tos)
    if packet.cuts:
        fields["frags"] = "+".join(map(str, packet.cuts))
    return fields
