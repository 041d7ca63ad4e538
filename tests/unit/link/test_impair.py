"""Impairments: each does what it says, by the seed, in the driver's time; rules pick frames."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from scapystack.base.errors import ConfigError
from scapystack.base.frames import CSUM_NONE, Frame
from scapystack.base.types import MILLISECOND, SECOND
from scapystack.codec import frame_of
from scapystack.link.impair import (
    GilbertElliott,
    ImpairedLink,
    Impairment,
    corrupt,
    delay,
    drop,
    duplicate,
    mark,
    replace,
    tcp,
)
from scapystack.link.memory import MemoryLink
from tests.unit.link.test_capture import open_frame, packet


def numbered(count, start=0):
    return [Frame(n.to_bytes(2, "big") * 30) for n in range(start, start + count)]


def numbers(frames):
    return [int.from_bytes(f.data[:2], "big") for f in frames]


def impaired(**how):
    a, b = MemoryLink.pair(offload=True)
    return ImpairedLink(a, seed=1, **how), b


def through(tx, count=1000, seed=1):
    """The numbers of those of `count` frames that arrive, in order, all time having passed."""
    a, b = MemoryLink.pair()
    link = ImpairedLink(a, seed=seed, tx=tx)
    now = 0
    for frame in numbered(count):
        now += MILLISECOND
        link.advance(now)
        link.write([frame])
    while (at := link.next_at()) is not None:
        link.advance(at)
    got = []
    while frames := b.read():
        got += frames
    return numbers(got)


def test_without_anything_all_pass_both_ways_at_once():
    link, far = impaired()
    link.write(numbered(3))
    assert numbers(far.read()) == [0, 1, 2]
    far.write(numbered(3))
    assert numbers(link.read(2)) == [0, 1]
    assert numbers(link.read(2)) == [2]
    assert link.next_at() is None
    assert link.timed


def test_loss_is_about_as_asked_and_counted():
    faults = Impairment(loss=0.2)
    got = through(faults)
    assert 150 < 1000 - len(got) < 250
    assert faults.lost == 1000 - len(got)
    assert got == sorted(got)


def runs_lost(got, count):
    """The lengths of the runs of frames that did not arrive."""
    present = set(got)
    words = "".join("." if n in present else "x" for n in range(count)).split(".")
    return [len(word) for word in words if word]


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 4.0), (0.3, 10.0), (0.2, 1.0)])
def test_loss_in_bursts_has_the_share_and_the_mean_length_asked_for(loss, burst):
    got = through(Impairment(loss=loss, burst=burst), count=30_000)
    lengths = runs_lost(got, 30_000)
    assert sum(lengths) == 30_000 - len(got)
    assert 0.85 * loss < sum(lengths) / 30_000 < 1.15 * loss
    assert 0.85 * burst < sum(lengths) / len(lengths) < 1.15 * burst


def test_loss_in_bursts_is_over_when_nothing_came_for_a_while():
    faults = Impairment(loss=0.5, burst=1e9)
    link, far = impaired(tx=faults)
    faults.loss = 1.0  # the first begins a run
    for ms, expected in ((0, []), (99, []), (198, []), (299, [1])):
        link.advance(SECOND + ms * MILLISECOND)
        link.write(numbered(1, start=1))
        faults.loss = 0.5
        assert numbers(far.read()) == expected


def test_loss_without_bursts_is_of_single_frames_mostly():
    lengths = runs_lost(through(Impairment(loss=0.1), count=10_000), 10_000)
    assert 1.05 < sum(lengths) / len(lengths) < 1.17  # 1 / (1 - loss)


def test_loss_of_all_and_of_none():
    assert through(Impairment(loss=1.0)) == []
    assert through(Impairment(loss=0.0)) == list(range(1000))


def test_duplicate_comes_twice_in_a_row():
    got = through(Impairment(duplicate=0.2))
    assert 1150 < len(got) < 1250
    assert sorted(set(got)) == list(range(1000))
    assert got == sorted(got)


def test_reorder_lets_later_ones_pass_and_loses_none():
    got = through(Impairment(reorder=0.1, reorder_by=2))
    assert sorted(got) == list(range(1000))
    late = [n for n in range(1000) if got.index(n) > n]
    assert 60 < len(late) < 140
    assert all(got.index(n) - n <= 4 for n in late)


def test_reorder_of_the_last_frame_ends_by_itself():
    link, far = impaired(tx=Impairment(reorder=1.0))
    link.advance(0)
    link.write(numbered(1))
    assert far.read() == []
    at = link.next_at()
    assert 0 < at <= 50 * MILLISECOND
    link.advance(at - 1)
    assert far.read() == []
    link.advance(at)
    assert numbers(far.read()) == [0]
    assert link.next_at() is None


def test_corrupt_turns_one_bit_behind_the_link_header():
    link, far = impaired(tx=Impairment(corrupt=1.0))
    clean = bytes(packet(b"x" * 50))
    places = set()
    for _ in range(300):
        link.write([open_frame(b"x" * 50)])
        (got,) = far.read()
        assert (got.csum, got.gso_size) == (CSUM_NONE, 0)
        difference = int.from_bytes(got.data, "big") ^ int.from_bytes(clean, "big")
        assert difference.bit_count() == 1
        places.add(len(clean) - 1 - (difference.bit_length() - 1) // 8)
    assert min(places) >= 14
    assert len(places) > 50


def test_corrupt_takes_the_shortest_frame():
    link, far = impaired(tx=Impairment(corrupt=1.0))
    link.write([Frame(b"x"), Frame(b"y" * 14)])
    assert [len(f) for f in far.read()] == [1, 14]


def test_delay_and_jitter_hold_within_their_bounds():
    link, far = impaired(rx=Impairment(delay_ms=10, jitter_ms=5))
    far.write(numbered(60))
    link.advance(SECOND)
    assert link.read() == []
    times = {}
    while (at := link.next_at()) is not None:
        link.advance(at)
        for number in numbers(link.read()):
            times[number] = at - SECOND
    assert len(times) == 60
    assert 10 * MILLISECOND <= min(times.values()) < 11 * MILLISECOND
    assert 14 * MILLISECOND < max(times.values()) <= 15 * MILLISECOND


def test_rate_spaces_frames_and_loses_what_waits_too_long():
    faults = Impairment(rate=60_000, queue_ms=10)  # a frame of 60 octets a millisecond
    link, far = impaired(tx=faults)
    link.advance(0)
    link.write(numbered(100))
    arrivals = []
    while (at := link.next_at()) is not None:
        link.advance(at)
        arrivals.append((at, numbers(far.read())))
    assert arrivals == [((n + 1) * MILLISECOND, [n]) for n in range(11)]
    assert faults.lost == 89


def test_same_seed_same_faults():
    def run(seed):
        return through(Impairment(loss=0.1, duplicate=0.1, reorder=0.1, jitter_ms=3), seed=seed)

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_ways_have_fates_of_their_own():
    one, far_one = impaired(tx=Impairment(loss=0.5), rx=Impairment(loss=0.5))
    two, far_two = impaired(tx=Impairment(loss=0.5))
    far_one.write(numbered(50))
    one.read()
    for link in (one, two):
        link.write(numbered(100))
    assert numbers(far_one.read(100)) == numbers(far_two.read(100))


def test_super_segments_are_cut_first_unless_whole():
    link, far = impaired(tx=Impairment(loss=0.5))
    link.write([open_frame(bytes(50 * 1000), 1000)])
    assert 10 < len(far.read(100)) < 40
    a, far = MemoryLink.pair(offload=True)
    ImpairedLink(a, whole=True).write([open_frame(bytes(50 * 1000), 1000)])
    (whole,) = far.read()
    assert whole.gso_size == 1000


def test_queue_of_frames_loses_what_finds_it_full():
    faults = Impairment(rate=60_000, queue_ms=1_000, queue_frames=3)
    link, far = impaired(tx=faults)
    link.advance(0)
    link.write(numbered(10))  # one on the line, three wait
    link.advance(MILLISECOND)
    link.write(numbered(10, start=10))  # one has left, so that there is room for one
    while (at := link.next_at()) is not None:
        link.advance(at)
    assert numbers(far.read()) == [0, 1, 2, 3, 10]
    assert faults.lost == 15


def test_bursts_by_gilbert_and_elliott_have_the_shares_of_both_states():
    """A share of 0.02 / (0.02 + 0.18) in the bad state, that loses half; 1% in the good one."""
    model = GilbertElliott(0.02, 0.18, loss_good=0.01, loss_bad=0.5)
    got = through(Impairment(bursts=model), count=60_000)
    assert 0.85 * 0.059 < 1 - len(got) / 60_000 < 1.15 * 0.059
    assert sum(runs_lost(got, 60_000)) / len(runs_lost(got, 60_000)) > 1.2


def test_bursts_that_never_end_lose_all_until_there_is_a_pause():
    faults = Impairment(bursts=GilbertElliott(1.0, 0.0))
    assert through(faults) == []
    faults.bursts = None
    assert through(faults, count=3) == [0, 1, 2]


def test_reordered_frame_that_nothing_overtakes_in_time_comes_by_itself():
    """The one that would let it pass is sent before, and arrives after, the 20 ms are over."""
    faults = Impairment(delay_ms=300, reorder_by=1)
    link, far = impaired(tx=faults)
    link.advance(0)
    faults.reorder = 1.0
    link.write(numbered(1))
    faults.reorder = 0.0
    link.advance(30 * MILLISECOND)
    link.write(numbered(1, start=1))
    times = []
    while (at := link.next_at()) is not None:
        link.advance(at)
        times += [(at // MILLISECOND, n) for n in numbers(far.read())]
    assert times == [(320, 0), (330, 1)]


# --- rules


def syn(flags="S"):
    return frame_of(Ether() / IP(dst="10.0.0.2") / TCP(flags=flags, dport=80))


def test_rule_drops_the_third_syn():
    link, far = impaired()
    rule = link.tx.rule(drop, tcp("S"), skip=2, count=1)
    for flags in ("S", "SA", "S", "A", "S", "S", "S"):
        link.write([syn(flags)])
    assert [f.packet[TCP].flags for f in far.read()] == ["S", "SA", "S", "A", "S", "S"]
    assert rule.hits == 1
    assert link.tx.lost == 1


def test_rule_by_scapys_packet_passes_over_what_has_no_such_layer():
    link, far = impaired()
    link.tx.rule(drop, lambda f: f.packet[TCP].dport == 80)
    arp = frame_of(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.2"))
    link.write([arp, syn(), Frame(b""), arp])
    assert [f.data for f in far.read()] == [arp.data, b"", arp.data]


def test_lose_picks_the_nth_frames_and_by_the_scapy_packet():
    link, far = impaired()
    link.tx.lose(2, 4, when=lambda packet: packet[TCP].flags == "S")
    link.tx.lose(1)
    arp = frame_of(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.2"))
    for flags in ("S", "A", "S", "S", "S"):
        link.write([syn(flags), arp])
    assert [str(f.packet[TCP].flags) if TCP in f.packet else "arp" for f in far.read()] == [
        "arp", "A", "arp", "arp", "S", "arp", "arp"
    ]  # fmt: skip
    assert link.tx.lost == 3
    link.tx.lose(when=lambda packet: ARP in packet)
    link.write([arp, syn(), arp])
    assert [TCP in f.packet for f in far.read()] == [True]


def test_rule_first_that_applies_acts():
    link, far = impaired(tx=Impairment(loss=1.0))
    link.tx.rule(duplicate, tcp("S"))
    link.tx.rule(drop, tcp())
    link.write([syn(), syn("A")])
    assert [f.packet[TCP].flags for f in far.read()] == ["S", "S"]


def test_rule_delays_replaces_and_corrupts():
    link, far = impaired()
    link.tx.rule(delay(5), tcp("S"))
    link.tx.rule(corrupt, tcp("F"))
    link.tx.rule(replace(lambda frame: [frame, syn("R")]), tcp("A"))
    link.advance(0)
    link.write([syn("S"), syn("A"), syn("F")])
    got = far.read()
    assert [f.packet[TCP].flags for f in got[:2]] == ["A", "R"]
    assert got[2].data != syn("F").data
    assert len(got) == 3
    link.advance(5 * MILLISECOND)
    assert [f.packet[TCP].flags for f in far.read()] == ["S"]


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (tcp(), True),
        (tcp("PA"), True),
        (tcp("AP"), True),
        (tcp("A"), False),
        (tcp(port=80), True),
        (tcp(port=81), False),
    ],
)
def test_tcp_predicate_looks_at_flags_and_port(predicate, expected):
    assert bool(predicate(syn("PA"))) is expected
    assert not predicate(Frame(b"x" * 60))
    assert not predicate(Frame(bytes(syn("PA").data[:40])))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": 1.5},
        {"corrupt": -0.1},
        {"delay_ms": -1},
        {"rate": -1},
        {"reorder_by": 0},
        {"loss": 0.1, "burst": 0.5},
        {"loss": 0.9, "burst": 2},
        {"queue_frames": -1},
    ],
    ids=str,
)
def test_impairment_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError):
        Impairment(**settings)


def test_model_of_bursts_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="to_good is a chance"):
        GilbertElliott(0.1, 1.1)


# -- congestion marks ------------------------------------------------------------------------------------


def ip4(tos):
    return Frame(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(tos=tos) / TCP() / b"text"))


@pytest.mark.parametrize(("tos", "seen"), [(0, 0), (0xB8, 0xB8), (2, 3), (1, 3), (3, 3), (0xB9, 0xBB)])
def test_mark_says_ce_where_the_sender_does_ecn(tos, seen):
    """RFC 3168 section 5: nobody else may be marked; the header's checksum stays right."""
    [(frame, wait)] = mark(ip4(tos), None)
    packet = frame.packet[IP]
    assert (packet.tos, wait) == (seen, 0)
    good = packet.chksum
    del packet.chksum
    assert IP(bytes(packet)).chksum == good
    assert (frame.data == ip4(tos).data) == (tos == seen)


@pytest.mark.parametrize(("tc", "seen"), [(0, 0), (0xB8, 0xB8), (2, 3), (0xB9, 0xBB)])
def test_mark_knows_the_traffic_class_of_ipv6(tc, seen):
    [(frame, _)] = mark(Frame(bytes(Ether() / IPv6(tc=tc, fl=0xFFFFF) / TCP())), None)
    assert (frame.packet[IPv6].tc, frame.packet[IPv6].fl) == (seen, 0xFFFFF)


@pytest.mark.parametrize("frame", [Frame(b""), Frame(bytes(14)), Frame(bytes(12) + b"\x08\x00E\x03")])
def test_mark_lets_pass_what_is_no_packet(frame):
    assert mark(frame, None) == [(frame, 0)]


def test_mark_keeps_an_open_checksum_open():
    whole = open_frame(b"x" * 3000, gso_size=1000)
    whole.head = whole.head[:15] + b"\x02" + whole.head[16:]
    [(frame, _)] = mark(whole, None)
    assert (frame.head[15], frame.payload) == (3, whole.payload)
    assert (frame.csum, frame.csum_start, frame.csum_offset, frame.gso_size) == (whole.csum, 34, 16, 1000)


def test_marks_are_about_as_many_as_asked_and_counted():
    faults = Impairment(mark=0.2)
    link, far = impaired(tx=faults)
    link.write([ip4(2 if n % 2 else 0) for n in range(1000)])
    got = []
    while frames := far.read():
        got += frames
    marked = [frame.data[15] for frame in got]
    assert (len(got), set(marked[::2])) == (1000, {0})
    assert 70 < marked.count(3) == faults.marked < 130
    assert faults.lost == 0


def test_queue_marks_what_waits_longer_than_its_threshold():
    """58 octets each at 5,800 a second: 10 ms a frame."""
    faults = Impairment(rate=5_800, queue_ms=60, mark_ms=30)
    link, far = impaired(tx=faults)
    link.write([ip4(2) for _ in range(10)])
    while (at := link.next_at()) is not None:
        link.advance(at)
    assert [frame.data[15] for frame in far.read()] == [2, 2, 2, 2, 3, 3, 3]
    assert (faults.marked, faults.lost) == (3, 3)
