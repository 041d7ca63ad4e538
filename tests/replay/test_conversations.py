"""How a capture is split: what belongs together, what is left out, and why something cannot be replayed."""

import random
import tracemalloc

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from scapystack.link.pcapread import CaptureReader
from scapystack.replay import replay
from scapystack.replay.conversations import Splitter
from tests.replay.captures import CLIENT, SERVER, START_NS, Talk, pcap, recorded

ETHER = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")


def replayed(tmp_path, packets, **how):
    return replay(pcap(tmp_path / "a.pcap", packets), **how)


def spaced(frames):
    """Frames a millisecond apart."""
    return [(START_NS + n * 1_000_000, bytes(frame)) for n, frame in enumerate(frames)]


def test_conversations_that_run_beside_each_other_are_told_apart(tmp_path):
    talks = [Talk(sport=40_000 + n) for n in range(5)]
    for talk in talks:
        talk.open()
    for n in range(3):
        for talk in talks:
            talk.say("c", "PA", b"question %d" % n)
            talk.say("s", "PA", b"answer %d" % n)
    for talk in talks:
        talk.close()
    packets = sorted((packet for talk in talks for packet in talk.packets), key=lambda each: each[0])
    results = replayed(tmp_path, packets, role="both")
    assert [(r.conversation, r.role) for r in results] == [
        (n, role) for n in range(1, 6) for role in ("server", "client")
    ]
    assert {(r.verdict, r.sent, r.received) for r in results if r.role == "client"} == {("passed", 30, 24)}
    assert {r.findings == [] for r in results} == {True}


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (lambda packets: packets[1:], "no handshake: the capture begins in the middle of the connection"),
        (lambda packets: packets[:1] + packets[2:], "no handshake: the capture begins in the middle of the connection"),
        (lambda packets: packets[:4] + packets[5:], "a gap: 6 octets that the server sent are not in the capture"),
        (lambda packets: packets[:3] + packets[4:], "a gap: 8 octets that the client sent are not in the capture"),
        (lambda packets: packets[:1], "nobody answers the SYN, and it is not sent again"),
    ],
)
def test_conversation_that_lacks_something_is_skipped_with_the_reason(tmp_path, cut, why):
    talk = Talk().open()
    talk.say("c", "PA", b"question")
    talk.say("s", "PA", b"answer")
    talk.close()
    (result,) = replayed(tmp_path, cut(talk.packets), role="server")
    assert (result.verdict, result.reason) == ("skipped", why)


def test_conversation_cut_by_the_snap_length_is_skipped_and_others_go_on(tmp_path):
    long, short = Talk(), Talk(sport=40_001)
    for talk, text in ((long, bytes(500)), (short, b"short")):
        talk.open().say("c", "PA", text)
        talk.close()
    path = pcap(tmp_path / "a.pcap", sorted(long.packets + short.packets), snaplen=120)
    first, second = replay(path)
    assert (first.verdict, first.reason) == ("skipped", "1 packet cut by the snap length (capture with -s 0)")
    assert second.verdict == "passed"


def test_packets_that_belong_to_no_conversation_are_left_out(tmp_path):
    talk = Talk().open().close()
    others = spaced(
        [
            ETHER / ARP(),
            ETHER / IPv6() / UDP(),
            ETHER / IP(proto=47, src=CLIENT, dst=SERVER) / bytes(20),
            ETHER / IP(src=CLIENT, dst=SERVER) / ICMP(type=13),
            ETHER / IP(src=CLIENT, dst=SERVER) / ICMP(type=3) / IP(src=SERVER, dst=CLIENT) / UDP(),
            ETHER / IP(src=CLIENT, dst=SERVER, version=5) / TCP(),
        ]
    )
    others.append((START_NS, b"short"))
    path = pcap(tmp_path / "a.pcap", others + talk.packets)
    with CaptureReader(path) as reader:
        splitter = Splitter(reader)
        (conversation,) = splitter
        assert conversation.title == "TCP 10.0.0.2:40000 > 10.0.0.1:80"
        assert splitter.left_out == {
            "not IP": 1, "IPv6": 1, "protocol 47": 1, "other ICMP": 1, "ICMP errors about nothing in the capture": 1,
            "bad IP header": 1, "too short": 1,
        }  # fmt: skip
    assert [r.verdict for r in replay(path, role="both")] == ["passed", "passed"]
    (result,) = replayed(tmp_path, others)
    assert result.verdict == "error"
    assert "IPv6: 1, " in result.reason


def test_multicast_and_broadcast_are_skipped(tmp_path):
    frames = [
        ETHER / IP(src=CLIENT, dst=dst) / UDP(sport=5353, dport=5353) for dst in ("224.0.0.251", "255.255.255.255")
    ]
    results = replayed(tmp_path, spaced(frames))
    assert {(r.verdict, r.reason) for r in results} == {("skipped", "it goes to many hosts, or comes from none")}


def test_stream_with_overlaps_and_disorder_replayed_to_the_same_octets(tmp_path):
    talk = Talk().open()
    text = bytes(range(200)) * 5
    start = talk.seq["c"]
    for first, last in ((0, 100), (300, 400), (90, 250), (200, 350), (500, 600), (350, 550), (600, 1_000), (0, 1_000)):
        talk.say("c", "PA", text[first:last], seq=start + first)
        talk.seq["c"] = max(talk.seq["c"], start + last if first <= 400 or last == 1_000 else 0)
    talk.seq["c"] = start + 1_000
    talk.say("s", "A")
    talk.close()
    server, client = replayed(tmp_path, talk.packets, role="both")
    assert (server.verdict, server.received) == ("passed", 1_000), server.findings
    assert (client.verdict, client.sent) == ("passed", 1_000), client.findings


def test_super_segment_without_a_length_replayed(tmp_path):
    talk = Talk().open()
    frame = talk.say("c", "PA", bytes(range(256)) * 40, keep=False)
    octets = bytearray(bytes(frame))
    octets[16:18] = octets[24:26] = b"\0\0"  # what the card would have filled in
    talk.packets.append((talk.at, bytes(octets)))
    talk.say("s", "A")
    talk.close()
    for result in replayed(tmp_path, talk.packets, role="both"):
        assert (result.verdict, result.findings) == ("passed", [])
        assert result.sent + result.received == 10_240


def test_fragments_in_any_order_replayed(tmp_path):
    question = ETHER / IP(src=CLIENT, dst=SERVER, id=7) / UDP(sport=1_000, dport=53)
    question /= bytes(range(250)) * 16
    answer = (
        Ether(src=ETHER.dst, dst=ETHER.src) / IP(src=SERVER, dst=CLIENT, id=9) / UDP(sport=53, dport=1_000) / b"yes"
    )
    frames = [ETHER / IP(bytes(part[IP])) for part in fragment(question, 1_400)]
    random.Random(2).shuffle(frames)
    for result in replayed(tmp_path, spaced([*frames, answer]), role="both"):
        assert (result.verdict, result.findings) == ("passed", [])
        assert sorted((result.sent, result.received)) == [3, 4_000]
    lost = replayed(tmp_path, spaced([*frames[1:], answer]))
    assert [(r.verdict, r.received) for r in lost] == [("passed", 3)]  # the answer, and no question


def test_timed_replay_sends_at_the_recorded_times(tmp_path):
    talk = Talk().open()
    talk.say("c", "PA", b"question")
    talk.say("s", "PA", b"answer")
    talk.close()
    for result in replayed(tmp_path, talk.packets, role="both", timed=True):
        assert (result.verdict, result.findings) == ("passed", [])
        assert 0.008 < result.seconds < 0.06


def test_checksums_that_a_card_was_to_make_are_no_damage(tmp_path):
    packets = []
    for at, data in recorded():
        frame = Ether(data)
        if frame[IP].src == CLIENT:
            frame[TCP].chksum = 0x1234  # all of them, as some systems show
        packets.append((at, bytes(frame)))
    assert [r.verdict for r in replayed(tmp_path, packets, role="both")] == ["passed", "passed"]


def test_splitter_keeps_no_packets(tmp_path):
    talk = Talk().open()
    full = bytes(talk.say("c", "PA", bytes(1_400)))
    talk.packets += [(talk.at + n, full) for n in range(12_000)]
    path = pcap(tmp_path / "a.pcap", talk.packets)
    assert path.stat().st_size > 16_000_000
    with CaptureReader(path) as reader:
        list(Splitter(reader))
        tracemalloc.start()
        list(Splitter(reader))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3_000_000


def test_splitter_hands_out_what_is_over_while_it_reads(tmp_path):
    talk = Talk(sport=40_000).open().close()
    old = (40_000).to_bytes(2, "big")
    packets = []
    for n in range(3_000):  # the same with other ports, not built anew
        port = (1_024 + n).to_bytes(2, "big")
        packets += [(at + n * 5_000_000, data.replace(old, port, 1)) for at, data in talk.packets]
    path = pcap(tmp_path / "a.pcap", sorted(packets))
    with CaptureReader(path) as reader:
        splitter = Splitter(reader)
        most = max(len(splitter._open) for _ in splitter)
        assert splitter.conversations == 3_000
    assert most < 3_000


def test_damaged_captures_never_raise(tmp_path):
    chance = random.Random(3)
    whole = pcap(tmp_path / "a.pcap", recorded()).read_bytes()
    verdicts = set()
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 12)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "b.pcap").write_bytes(damaged)
        verdicts.update(r.verdict for r in replay(tmp_path / "b.pcap", role="both"))
    assert verdicts >= {"passed", "skipped", "error"}
