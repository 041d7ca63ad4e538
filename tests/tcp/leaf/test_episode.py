"""`Episode`: Proportional Rate Reduction (RFC 6937), and the counting by which a reduction is undone (RFC 3708)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scapystack.layers.tcp.episode import Episode

MSS = 1000


def episode(*, flight: int = 20 * MSS, una: int = 0) -> Episode:
    return Episode(una, una + flight, flight)


def play(lost: int, acks: int) -> list[int]:
    """The first round trip of RFC 6937 section 3.1: `lost` of 20 segments, all seen at the first of `acks` ACKs.

    How many segments leave after each, the fast retransmit first. Two new ones left before (limited transmit,
    RFC 3042); the tables count them in: half of 22 are 11.
    """
    one = episode(flight=22 * MSS)
    ssthresh = 11 * MSS
    pipe = (20 - lost) * MSS
    out = []
    for _ in range(acks):
        pipe -= MSS
        one.progress(MSS, pipe, ssthresh, MSS)
        n = max((one.cwnd - pipe) // MSS, int(not out))
        one.prr_out += n * MSS
        pipe += n * MSS
        out.append(n)
    return out


def test_one_loss_is_spread_over_the_round_trip():
    """RFC 6937 section 3.1, the first table: every other ACK sends, and each one once the pipe is at ssthresh.

    In octets half a segment waits for its other half, so all but the first leave one ACK later than there.
    """
    assert play(lost=1, acks=17) == [1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1]


def test_fifteen_losses_send_two_segments_for_each_ack():
    """RFC 6937 section 3.1, the second table: PRR-SSRB, slow start up to ssthresh."""
    assert play(lost=15, acks=3) == [2, 2, 2]


def test_one_loss_lets_as_much_leave_as_any_other_algorithm():
    """RFC 6937 section 3.1: "all 3 algorithms send the same total amount of data", 11 with the two before."""
    assert sum(play(lost=1, acks=17)) + 2 == 11


def test_ack_that_tells_nothing_opens_nothing_above_ssthresh():
    one = episode()
    one.progress(0, 15 * MSS, 10 * MSS, MSS)
    assert one.cwnd == 15 * MSS


def test_first_ack_after_a_flight_of_nothing_divides_by_no_zero():
    one = Episode(0, 0, 0)
    one.progress(MSS, 11 * MSS, 10 * MSS, MSS)
    assert one.cwnd >= 11 * MSS


ACKS = st.lists(
    st.tuples(
        st.integers(0, 5 * MSS),  # delivered
        st.integers(0, 4 * MSS),  # found lost
        st.floats(0, 1),  # how much of what may leave does
    ),
    max_size=80,
)


@given(st.integers(2, 60), st.integers(2, 40), ACKS)
def test_any_acks_keep_the_bounds_of_rate_reduction(flight, threshold, acks):
    """RFC 6937 sections 3 and 4: in the proportional part what left follows what was delivered; below ssthresh
    slow start's pace, and never beyond it; what was held back for want of data is not sent in a burst later."""
    flight *= MSS
    ssthresh = threshold * MSS
    one = episode(flight=flight)
    pipe = flight
    for wanted, lost, part in acks:
        delivered = min(wanted, pipe)
        pipe -= delivered
        pipe -= min(lost, pipe)
        one.progress(delivered, pipe, ssthresh, MSS)
        may = one.cwnd - pipe
        assert may >= 0
        if pipe > ssthresh:
            assert may <= max(-(-one.prr_delivered * ssthresh // flight) - one.prr_out, 0)
        else:
            assert pipe + may <= ssthresh
            assert may <= max(one.prr_delivered - one.prr_out, delivered) + MSS
        if not delivered:
            assert may <= max(one.prr_delivered - one.prr_out, 0) + MSS
        sent = int(may * part)
        one.prr_out += sent
        pipe += sent


def test_dsacks_of_all_that_was_sent_again_undo():
    """RFC 3708 section 3: and not before the last of them."""
    one = episode()
    one.sent_again(2 * MSS, 2 * MSS, 5)
    assert not one.came_twice(0, MSS)
    assert one.came_twice(MSS, 2 * MSS)


def test_dsack_of_what_was_sent_before_the_episode_does_not_count():
    one = episode(una=50 * MSS)
    one.sent_again(51 * MSS, MSS, 5)
    assert not one.came_twice(48 * MSS, 49 * MSS)
    assert not one.came_twice(10 * MSS, 50 * MSS)
    assert one.came_twice(49 * MSS, 51 * MSS)  # a part lies inside, as large as all that was sent again


def test_dsack_of_what_the_network_has_doubled_does_not_count():
    """It came twice and was not sent again: nothing is said of what was."""
    one = episode()
    one.sent_again(4 * MSS, MSS, 5)
    one.sent_again(10 * MSS, 2 * MSS, 6)
    assert not one.came_twice(0, 3 * MSS)
    assert not one.came_twice(4 * MSS, 8 * MSS)
    assert not one.came_twice(3 * MSS, 4 * MSS)
    assert one.came_twice(8 * MSS, 10 * MSS)


def test_dsack_with_nothing_sent_again_is_the_networks_doing():
    assert not episode().came_twice(0, MSS)


def test_undo_happens_once_and_only_where_it_may():
    one = episode()
    one.sent_again(MSS, MSS, 5)
    one.undoable = False
    assert not one.came_twice(0, MSS)


def test_time_of_the_first_retransmission_is_kept():
    """RFC 3522 section 3.2 step 2: RetransmitTS."""
    one = episode()
    one.sent_again(MSS, MSS, 77)
    one.sent_again(MSS, MSS, 99)
    assert one.first_resend_ms == 77
