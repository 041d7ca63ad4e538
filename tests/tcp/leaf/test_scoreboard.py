"""What single ACKs make of a `Scoreboard`; `tests/property/test_scoreboard.py` has all that may come together."""

from __future__ import annotations

import pytest

from scapystack.layers.tcp.scoreboard import MASK, Scoreboard
from tests.harness.tcp_invariants import check_scoreboard

MS = 1_000_000


def board_of(*sizes: int, start: int = 0, at: int = MS) -> Scoreboard:
    """So many pieces under way, sent one millisecond after the other."""
    board = Scoreboard(start)
    for i, n in enumerate(sizes):
        board.sent(n, at + i * MS)
    board.begin_ack(None, 0)
    return board


def test_dsack_below_the_cumulative_ack_is_one():
    """2883/4: section 4.1."""
    board = board_of(10, 10, 10)
    board.ack(20, 5 * MS)
    assert board.sack(((5, 15),), 5 * MS) == 0
    assert board.dsack == (5, 15)


def test_dsack_inside_of_the_second_block_is_one():
    """2883/4: section 4.2, above the cumulative ACK."""
    board = board_of(10, 10, 10)
    assert board.sack(((20, 25), (15, 30)), 5 * MS) == 15
    assert board.dsack == (20, 25)
    assert board.pipe == 15


@pytest.mark.parametrize("blocks", [((20, 25), (26, 30)), ((15, 30), (20, 25)), ((20, 30),)])
def test_block_above_the_cumulative_ack_that_no_other_holds_is_a_sack(blocks):
    """2883/4."""
    board = board_of(10, 10, 10)
    board.sack(blocks, 5 * MS)
    assert board.dsack is None
    assert board.sacked.size == len({n for left, right in blocks for n in range(left, right)})


def test_second_block_below_the_cumulative_ack_is_ignored():
    """2883/4: only the first may tell of a duplicate."""
    board = board_of(10, 10, 10)
    board.ack(10, 5 * MS)
    assert board.sack(((20, 30), (2, 5)), 5 * MS) == 10
    assert board.dsack is None


def test_dsack_across_the_wrap_of_the_numbers():
    """2883/4."""
    board = board_of(10, 10, start=MASK - 4)
    board.ack(20, 5 * MS)
    board.sack(((MASK - 4, 5),), 5 * MS)
    assert board.dsack == (MASK - 4, MASK + 6)


def test_every_other_octet_sacked_costs_no_more_pieces_than_the_flight_is_worth():
    """2018/8: a peer that invents blocks; those that grow, or join others, are taken all the same."""
    flight = 1 << 20
    board = board_of(*[1 << 16] * 16)
    for left in range(1, 40_000, 8):
        board.sack(tuple((at, at + 1) for at in range(left, left + 8, 2)), 50 * MS)
    assert len(board.sacked) == flight // 256
    assert len(board.pieces) <= flight // 256 + 16
    check_scoreboard(board)
    assert board.sack(((1, flight),), 60 * MS) == flight - 1 - flight // 256
    assert len(board.sacked) == len(board.pieces) == 1


def test_ordinary_losses_stay_within_the_bound_of_ranges():
    """2018/8: every other segment of the smallest usual size lost."""
    mss = 536
    board = board_of(*[mss] * 400)
    for at in range(mss, 400 * mss, 2 * mss):
        board.sack(((at, at + mss),), 500 * MS)
    assert len(board.sacked) == 200


def test_retransmissions_that_nobody_looks_at_again_are_forgotten_with_their_ack():
    """Without SACK nobody calls `lose_overtaken`, and a connection may live for years."""
    board = Scoreboard()
    for n in range(1_000):
        board.sent(10, n * MS)
        board.lose_all()
        board.resend(*board.next_lost(10), n * MS + 1)
        board.ack(10, n * MS + 2)
    assert len(board._again) == 0


def test_lost_retransmission_is_found_by_what_was_sent_after_it():
    """8985/6: no timeout has to tell."""
    board = board_of(10, 10, 10)
    board.sack(((10, 30),), 10 * MS)
    assert board.lose_overtaken(0, 10 * MS) is None
    board.resend(*board.next_lost(10), 11 * MS)
    board.sent(10, 12 * MS)
    board.sack(((10, 40),), 22 * MS)
    assert board.lose_overtaken(20 * MS, 22 * MS) == 31 * MS
    assert board.lost_octets == 0
    assert board.lose_overtaken(20 * MS, 31 * MS) is None
    assert board.next_lost(10) == (0, 10)


def test_lost_retransmission_that_was_none_after_all_can_be_lost_once_more():
    """8985/6: an undo leaves it under way, and what is sent after it tells of it as of any other."""
    board = board_of(10, 10, 10)
    board.sack(((10, 30),), 10 * MS)
    board.lose_overtaken(0, 10 * MS)
    board.resend(*board.next_lost(10), 11 * MS)
    board.sent(10, 12 * MS)
    board.sack(((30, 40),), 22 * MS)
    board.lose_overtaken(0, 22 * MS)
    assert board.lost_octets == 10
    board.find_none_lost()
    board.lose_overtaken(0, 23 * MS)
    assert board.lost_octets == 10


def test_segments_of_one_burst_are_told_apart_by_their_numbers():
    """8985/6: RACK_sent_after breaks ties of time by the end of the sequence."""
    board = Scoreboard()
    for _ in range(4):
        board.sent(10, MS)
    board.begin_ack(None, 0)
    board.sack(((20, 30),), 5 * MS)
    board.lose_overtaken(0, 5 * MS)
    assert [p.lost for p in board.pieces] == [True, True, False]


def test_retransmission_acknowledged_within_less_than_the_least_round_trip_tells_nothing():
    """8985/6: step 2, the ACK is of the original."""
    board = board_of(10, 10)
    board.lose_all()
    board.resend(0, 10, 50 * MS)
    board.begin_ack(None, 10 * MS)
    board.ack(10, 52 * MS)
    assert board.xmit_at == 0
    board.lose_overtaken(0, 52 * MS)
    assert not board.pieces[0].retransmitted


def test_blocks_of_one_ack_are_no_sign_of_reordering_in_whatever_order_they_stand():
    """8985/6: step 3 goes by the numbers; a receiver names the newest block first (2018/3)."""
    board = board_of(10, 10, 10, 10, 10)
    board.sack(((30, 40), (10, 20)), 10 * MS)
    assert not board.reordered
    board.begin_ack(None, 0)
    board.sack(((20, 30),), 11 * MS)
    assert board.reordered
