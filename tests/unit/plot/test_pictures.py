"""Pictures are made and looked at: nothing is cut off, labels are where they belong, and nothing is missing."""

import struct
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP, Ether

from scapystack.base.errors import ConfigError, LinkError, ScapystackError
from scapystack.layers.tcp.state import CLOSED, STATE_NAMES, TRANSITIONS
from scapystack.plot import KINDS, conversations, flow_of, ladder_text, plot, save, show, state_diagram
from scapystack.plot.analysis import AGAIN, analysed
from tests.unit.plot import looks

PCAPS = Path(__file__).parents[3] / "pcaps"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["lost-three.pcap", "zero-window-probed.pcap", "refused.pcap"])
def test_plot_capture_nothing_is_cut_off(name, kind):
    picture = plot(PCAPS / name, kind)
    assert looks.cut_off(picture) == []
    assert looks.outside(picture) == []
    assert any("10.0.0.2:40000 > 10.0.0.1" in text.get_text() for text in looks.texts(picture))


@pytest.mark.parametrize("kind", KINDS)
def test_plot_trace_nothing_is_cut_off(recorded, kind):
    picture = plot(recorded.path, kind, dark=True)
    assert looks.cut_off(picture) == []
    assert looks.outside(picture) == []


@pytest.mark.parametrize(("name", "resent"), [("lost-one", 1), ("lost-three", 3), ("handshake", 0), ("syn-lost", 1)])
def test_plot_sequence_of_a_loss_has_an_r_for_each_retransmission(name, resent):
    side = "client" if name == "syn-lost" else "server"
    picture = plot(PCAPS / f"{name}.pcap", side=side)
    assert looks.letters(picture, "R") == resent
    arrows = [c for c in picture.axes[0].collections if c.get_gid() == "sent again"]
    assert sum(len(c.get_segments()) for c in arrows) == resent


def test_plot_sequence_has_the_letters_of_what_happened():
    lost = plot(PCAPS / "lost-three.pcap")
    assert looks.letters(lost, "3") == 1
    assert looks.letters(lost, "S") > 10
    assert looks.letters(lost, "SYN") == looks.letters(lost, "FIN") == 1
    stalled = plot(PCAPS / "zero-window-probed.pcap")
    assert looks.letters(stalled, "Z") == 3
    assert looks.letters(stalled, "P") == 3
    assert looks.letters(stalled, "D") == 1
    assert looks.letters(plot(PCAPS / "keepalive.pcap", side="client"), "K") > 1


def test_plot_sequence_lines_are_where_the_numbers_are():
    axes = plot(PCAPS / "lost-one.pcap").axes[0]
    lines = {line.get_gid(): line for line in axes.lines}
    assert lines["ACK"].get_ydata()[-1] == 40_002  # SYN, text, FIN
    assert lines["ACK"].get_color() == "green"
    again = len(lines["ACK ticks"].get_ydata())
    assert again == sum(a == b for a, b in pairwise(lines["ACK"].get_ydata())) > 3
    assert lines["window ticks"].get_color() == lines["window"].get_color()
    arrows = {c.get_gid(): c for c in axes.collections}
    starts = [segment[0][1] for segment in arrows["data"].get_segments()]
    assert (min(starts), max(starts)) == (0, 40_001)


def test_plot_trace_counts_and_draws_what_the_connection_counted(recorded):
    flow = flow_of(recorded.path)
    assert recorded.info.total_retrans == 4
    resent = sum(seen.length for seen in analysed(flow, 0).of(AGAIN))
    assert resent == recorded.info.bytes_retrans
    axes = plot(flow, "window").axes[0]
    lines = {line.get_gid(): line for line in axes.lines}
    assert max(lines["cwnd"].get_ydata()) == max(event["snd_cwnd_bytes"] for event in recorded.events)
    assert min(lines["ssthresh"].get_ydata()) == min(event["snd_ssthresh_bytes"] for event in recorded.events)
    assert "receiver's window (to 4,19" in picture_words(plot(flow, "window"))


def picture_words(picture):
    return "\n".join(text.get_text() for text in looks.texts(picture))


def test_plot_throughput_of_a_trace_ends_with_the_segments_and_not_with_time_wait(recorded):
    flow = flow_of(recorded.path)
    assert flow.events[-1][0] > 60 > flow.lasts
    assert plot(flow, "throughput").axes[0].get_xlim()[1] < flow.lasts * 1.2 * 1e3


def test_plot_sequence_without_text_has_whole_numbers_on_its_axis():
    picture = plot(PCAPS / "refused.pcap")
    assert looks.cut_off(picture) == []
    numbers = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert len(numbers) == len(set(numbers))


def test_plot_capture_and_trace_of_the_same_transfer_agree(recorded):
    ours, captured = flow_of(recorded.path), flow_of(recorded.packets)
    assert captured.ends == ours.ends
    for side in (0, 1):
        a, b = analysed(ours, side), analysed(captured, side)
        assert sum(seen.length for seen in a.of(AGAIN)) == sum(seen.length for seen in b.of(AGAIN))
        assert a.acks[-1][1] == b.acks[-1][1]
    rtts = [rtt for _, rtt in analysed(captured, 0).rtts]
    assert min(rtts) == pytest.approx(0.04, rel=0.02)
    assert [event["rtt"] for event in recorded.events][-1] == pytest.approx(40_000, rel=0.2)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "sequence"), (".svg", "ladder")])
def test_save_makes_a_file_of_the_size_of_the_picture_with_its_text(tmp_path, suffix, kind):
    path = tmp_path / f"picture{suffix}"
    picture = plot(PCAPS / "handshake.pcap", kind)
    save(picture, path)
    width, height = (round(inches * picture.dpi) for inches in picture.get_size_inches())
    if suffix == ".png":
        assert struct.unpack(">II", path.read_bytes()[16:24]) == (width, height)
        return
    root = ET.parse(path).getroot()
    assert round(float(root.get("width").removesuffix("pt")) * picture.dpi / 72) == pytest.approx(width, abs=1)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "[S], seq 0, win 64240, length 0" in words
    again = tmp_path / "again.svg"
    save(plot(PCAPS / "handshake.pcap", kind), again)
    assert again.read_bytes() == path.read_bytes()


# -- ladder ------------------------------------------------------------------------------------------


def test_ladder_picture_has_an_arrow_for_each_segment_and_no_label_hides_another():
    picture = plot(PCAPS / "lost-one.pcap", "ladder")
    flow = flow_of(PCAPS / "lost-one.pcap")
    labels = [text.get_text() for text in looks.texts(picture) if text.get_gid() == "label"]
    assert len(labels) == len(flow.seen)
    assert sum("(sent again)" in label for label in labels) == 1
    assert looks.overlapping(picture, "label", "time") == []


def test_ladder_text_has_an_arrow_for_each_segment_and_says_what_is_left_out():
    lines = ladder_text(PCAPS / "syn-lost.pcap").splitlines()
    assert lines[0].startswith("TCP 10.0.0.2:40000 > 10.0.0.1:80")
    assert len(lines) == 2 + len(flow_of(PCAPS / "syn-lost.pcap").seen)
    assert lines[3].endswith(">|")
    assert "length 0 (sent again) -" in lines[3]
    assert ladder_text(PCAPS / "syn-lost.pcap", most=3).splitlines()[-1] == "... and 11 more packets"


@pytest.mark.parametrize(
    ("name", "conversation", "said"),
    [
        ("ping", None, ["echo request, id 31985, seq 1, length 64", "echo reply, id 31985, seq 1, length 64"]),
        ("udp", None, ["UDP, length 20", "UDP, length 0"]),
        ("udp-fragments", None, ["UDP, length 9000 (in 7 fragments)", "UDP, length 5000 (in 4 fragments)"]),
        ("udp-refused", None, ["UDP, length 14", "10.0.0.1 udp port 53 unreachable"]),
        ("udp-pmtu", 1, ["UDP, length 1300", "10.0.1.2 unreachable - need to frag (mtu 1000) (from 10.0.0.254)"]),
        (
            "udp-pmtu",
            2,
            ["Request who-has 10.0.0.1 tell 10.0.0.254, length 28", "Reply 10.0.0.1 is-at 02:00:"],
        ),
    ],
)
def test_ladder_of_what_is_no_tcp_has_each_packet_from_who_sent_it(name, conversation, said):
    path = PCAPS / f"{name}.pcap"
    _, _, asked, answered, *rest = ladder_text(path, conversation).splitlines()
    assert said[0] in asked
    assert asked.endswith(">|")
    assert said[1] in answered
    assert "|<--" in answered
    picture = plot(path, "ladder", conversation=conversation)
    labels = [text.get_text() for text in looks.texts(picture) if text.get_gid() == "label"]
    assert len(labels) == 2 + len(rest)
    assert looks.cut_off(picture) == []
    assert looks.overlapping(picture, "label", "time") == []


def test_ladder_says_how_many_packets_of_datagrams_are_left_out():
    assert ladder_text(PCAPS / "udp.pcap", most=3).splitlines()[-1] == "... and 7 more packets"
    assert ladder_text(PCAPS / "udp-pmtu.pcap", 2, most=1).splitlines()[-1] == "... and 1 more packets"


def test_ladder_of_arp_of_another_kind_or_cut_short_is_left_out():
    frame = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.0.0.1", pdst="10.0.0.2")
    odd = [Ether(bytes(frame)[:30]), Ether() / ARP(ptype=0x86DD, plen=16, psrc="::1", pdst="::2")]
    assert len(ladder_text([frame, *odd]).splitlines()) == 3
    with pytest.raises(ConfigError, match="no conversation in this capture"):
        ladder_text(odd)


# -- states ------------------------------------------------------------------------------------------


def test_state_diagram_has_every_state_and_every_row_of_the_table():
    picture = state_diagram()
    assert looks.cut_off(picture) == []
    shown = [text.get_text() for text in looks.texts(picture)]
    assert set(STATE_NAMES) <= set(shown)
    said = [text.get_text().replace("\n", " ") for text in looks.texts(picture) if text.get_gid() == "words"]
    crosses = [line for line in picture.axes[0].lines if line.get_gid() == "cross"]
    rows = [words for leads in TRANSITIONS.values() for words in leads.values()]
    assert len(said) + len(crosses) == len(rows)
    assert set(said) <= set(rows)
    assert len(crosses) == sum(CLOSED in leads for leads in TRANSITIONS.values()) - 3


@pytest.mark.parametrize("name", ["server-closes", "reset-upload", "simultaneous-close", "simultaneous-open"])
def test_state_picture_numbers_each_move_and_no_text_hides_another(name):
    picture = plot(PCAPS / f"{name}.pcap", "state")
    steps = [text.get_text() for text in looks.texts(picture) if text.get_gid() == "step"]
    moves = sum(int(t.get_text().split()[1]) for t in looks.texts(picture) if " moves, " in t.get_text())
    assert len(steps) == moves > 4
    assert looks.overlapping(picture, "step", "words", "key") == []
    assert looks.cut_off(picture) == []


# -- what goes wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "pie"}, "no picture named 'pie'; one of: sequence"),
        ({"side": "left"}, "client or server, not 'left'"),
        ({"conversation": 7}, "there is no conversation 7 in this capture"),
    ],
)
def test_plot_of_what_does_not_exist_says_so(arguments, words):
    with pytest.raises(ConfigError, match=words):
        plot(PCAPS / "handshake.pcap", **arguments)


def test_plot_of_another_file_or_protocol_says_so(tmp_path, recorded):
    other = tmp_path / "other"
    other.write_text("{}\n")
    with pytest.raises(LinkError, match="no trace of ours"):
        plot(other)
    other.write_text("hello")
    with pytest.raises(LinkError, match="neither a pcap nor a pcapng"):
        plot(other)
    with pytest.raises(ConfigError, match="no TCP conversation in this capture: of others there is only a ladder"):
        plot(PCAPS / "ping.pcap")
    with pytest.raises(ConfigError, match=r"2 is not TCP \(ARP 10.0.0.254 > 10.0.0.1\): of others"):
        plot(PCAPS / "pmtu.pcap", conversation=2)
    with pytest.raises(ConfigError, match="no connection 2 in this trace: 1 to 1"):
        plot(recorded.path, conversation=2)


def test_save_and_show_that_cannot_say_what_to_do(tmp_path, monkeypatch):
    picture = plot(PCAPS / "handshake.pcap")
    with pytest.raises(ConfigError, match=r"ends in \.png or \.svg"):
        save(picture, tmp_path / "picture.pdf")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="no screen"):
        show(picture)


def test_plot_without_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ScapystackError, match=r"pip install 'scapystack\[plot\]'"):
        plot(PCAPS / "handshake.pcap")


def test_conversations_lists_what_a_file_has(recorded):
    assert [(each.number, each.packets) for each in conversations(recorded.path)] == [(1, len(recorded.events))]
    found = conversations(PCAPS / "ports-again.pcap")
    assert [each.number for each in found] == [1, 2]
    assert all(each.title.startswith("TCP 10.0.0.2:40000 > 10.0.0.1:") for each in found)
