"""Every capture of `pcaps/`, both roles: the verdict, and the golden transcripts. After an intended change of what the
stack sends: `scapystack replay --role both --update-golden pcaps/*.pcap`, and look at the difference.
"""

from pathlib import Path

import pytest

from pcaps.make import with_table
from pcaps.scene import SCENES
from scapystack.layers.tcp import input as input_module
from scapystack.layers.tcp import output, recovery, transmit
from scapystack.replay import replay

PCAPS = Path(__file__).parents[2] / "pcaps"
FILES = sorted(path.name for path in PCAPS.glob("*.pcap"))


@pytest.mark.parametrize("name", FILES)
def test_capture_replayed_in_both_roles_as_its_golden_transcripts_say(name):
    for result in replay(PCAPS / name, role="both"):
        told = "\n".join([result.reason, *result.findings, *result.differences])
        assert (result.verdict, result.golden) == ("passed", "equal"), told


def test_captures_replayed_with_the_rfc_profile_pass():
    results = replay(*(PCAPS / name for name in FILES), role="both", profile="rfc")
    assert not [(r.file, r.role, r.reason, *r.findings) for r in results if r.verdict != "passed"]


def test_captures_are_many_and_each_is_told_of():
    results = replay(*(PCAPS / name for name in FILES), role="client")
    assert len(results) >= 40
    readme = (PCAPS / "README.md").read_text()
    assert with_table(readme) == readme
    assert {scene.file for scene in SCENES.values()} == set(FILES) - {"nc-transfer.pcap"}
    used = {path.name for path in (PCAPS / "golden").iterdir()}
    named = {f"{Path(r.file).name}-{r.conversation}-{role}-linux.txt" for r in results for role in ("client", "server")}
    assert used == named


def _ack_off_by_one(monkeypatch):
    right = transmit.transmit

    def wrong(c, *rest, **more):
        c.rcv_nxt += 1
        try:
            right(c, *rest, **more)
        finally:
            c.rcv_nxt -= 1

    monkeypatch.setattr(transmit, "transmit", wrong)


def _sack_off_by_one(monkeypatch):
    right = transmit._sack_blocks
    monkeypatch.setattr(transmit, "_sack_blocks", lambda c: tuple((a, b + 1) for a, b in right(c)))


def _window_taken_back(monkeypatch):
    right = transmit.window_field
    monkeypatch.setattr(transmit, "window_field", lambda c: right(c) // 2 if c.bytes_received > 5_000 else right(c))


def _fast_retransmit_missing(monkeypatch):
    monkeypatch.setattr(recovery, "on_ack", lambda c, *rest, **more: None)


def _fin_forgotten(monkeypatch):
    monkeypatch.setattr(input_module, "_fin", lambda c: None)


def _ack_delayed_longer(monkeypatch):
    right = input_module._in_order

    def wrong(c, *rest):
        right(c, *rest)
        c.ack_now = False

    monkeypatch.setattr(input_module, "_in_order", wrong)


def _text_sent_twice(monkeypatch):
    right = output._emit_new

    def wrong(c, flags, offset, n):
        right(c, flags, max(offset - 1, 0), n)

    monkeypatch.setattr(output, "_emit_new", wrong)


@pytest.mark.parametrize(
    ("break_it", "name", "role", "says"),
    [
        (_ack_off_by_one, "handshake", "server", "packet 5: acknowledges 302; the peer has sent 301 without a gap"),
        (_sack_off_by_one, "lost-upload", "server", "SACK of 11585:13034; the peer has sent 13033"),
        (_window_taken_back, "upload", "server", "octets of its window"),
        (_fast_retransmit_missing, "lost-one", "server", "differs from"),
        (
            _fin_forgotten,
            "handshake",
            "server",
            "the connection is FIN-WAIT-2 at the end; in the recording it is CLOSED",
        ),
        (_ack_delayed_longer, "handshake", "server", "in the golden transcript"),
        (_text_sent_twice, "download-large", "server", "is not what the recording has"),
    ],
)
def test_capture_against_a_broken_stack_is_red_and_names_the_packet(monkeypatch, break_it, name, role, says):
    (good,) = replay(PCAPS / f"{name}.pcap", role=role)
    assert (good.verdict, good.golden) == ("passed", "equal")
    break_it(monkeypatch)
    (result,) = replay(PCAPS / f"{name}.pcap", role=role)
    told = "\n".join([*result.findings, *result.differences])
    assert result.verdict == "failed"
    assert says in told, told
    assert "packet " in told
