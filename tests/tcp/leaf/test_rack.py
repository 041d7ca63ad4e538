"""RACK's reordering window (RFC 8985 section 6.2 step 4), rule by rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scapystack.layers.tcp.rack import DUP_THRESH, Rack

MS = 1_000_000
RTT = 40 * MS
SRTT = 100 * MS


def window(rack: Rack, *, recovering: bool = False, sacked: int = 0, min_rtt: int = RTT, srtt: int = SRTT) -> int:
    return rack.window(recovering, sacked, min_rtt, srtt)


def test_window_begins_with_a_quarter_of_the_least_round_trip():
    """8985/6."""
    assert window(Rack()) == RTT // 4


def test_window_is_closed_in_recovery_and_with_three_segments_sacked():
    """8985/6: where nobody has seen the path reorder."""
    rack = Rack()
    assert window(rack, recovering=True) == 0
    assert window(rack, sacked=DUP_THRESH) == 0
    assert window(rack, sacked=DUP_THRESH - 1) == RTT // 4


def test_window_stays_open_once_the_path_was_seen_to_reorder():
    """8985/6: DupThresh counts no more."""
    rack = Rack()
    rack.reordering_seen = True
    assert window(rack, recovering=True, sacked=100) == RTT // 4


def test_window_grows_by_a_quarter_for_each_round_trip_with_a_dsack():
    """8985/6: after N of them it is (N + 1) quarters."""
    rack = Rack()
    rack.reordering_seen = True
    for n in range(1, 5):
        rack.saw_dsack(n * 1000, n * 1000 + 1000)
        assert window(rack) == (n + 1) * RTT // 4


def test_dsacks_within_one_round_trip_count_once():
    """8985/6: RACK.dsack_round."""
    rack = Rack()
    rack.saw_dsack(0, 1000)
    rack.saw_dsack(0, 1500)
    rack.saw_dsack(999, 2000)
    assert window(rack) == RTT // 2
    rack.saw_dsack(1000, 2500)  # what was SND.NXT then is acknowledged: a round trip has passed
    assert window(rack) == 3 * RTT // 4


def test_window_is_never_wider_than_the_smoothed_round_trip():
    """8985/6: the upper bound."""
    rack = Rack()
    for n in range(300):
        rack.saw_dsack(n * 10, n * 10 + 10)
    assert window(rack) == SRTT


def test_window_is_tried_anew_after_sixteen_recoveries_without_dsack():
    """8985/6: RACK.reo_wnd_persist."""
    rack = Rack()
    rack.saw_dsack(0, 1000)
    for _ in range(15):
        rack.recovery_ended()
    assert window(rack) == RTT // 2
    rack.recovery_ended()
    assert window(rack) == RTT // 4


def test_dsack_starts_the_sixteen_recoveries_again():
    """8985/6."""
    rack = Rack()
    rack.saw_dsack(0, 1000)
    for _ in range(15):
        rack.recovery_ended()
    rack.saw_dsack(1000, 2000)
    for _ in range(15):
        rack.recovery_ended()
    assert window(rack) == 3 * RTT // 4


def test_window_before_any_round_trip_was_measured_is_nothing():
    """8985/6: RACK.min_RTT and SRTT are unknown."""
    assert window(Rack(), min_rtt=0, srtt=0) == 0


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5000)), max_size=60),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
)
def test_any_history_keeps_the_window_between_nothing_and_srtt(events, seen, recovering, sacked, min_rtt, srtt):
    """8985/6: `None` is the end of a recovery, a number a D-SACK after so many octets."""
    rack = Rack()
    rack.reordering_seen = seen
    una = 0
    for event in events:
        if event is None:
            rack.recovery_ended()
        else:
            una += event
            rack.saw_dsack(una, una + 2500)
    wide = rack.window(recovering, sacked, min_rtt, srtt)
    assert 0 <= wide <= srtt
    if not seen and (recovering or sacked >= 3):
        assert wide == 0
    else:
        assert wide >= min(min_rtt // 4, srtt)
