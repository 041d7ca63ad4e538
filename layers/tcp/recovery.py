"""What an ACK says of losses, and what follows: the states of recovery, and who decides in each.

With SACK, RACK decides what is lost (RFC 8985, on the scoreboard of RFC 6675); without, three duplicate
ACKs do, one segment at a time (NewReno, RFC 6582). How much may leave meanwhile is PRR's (`episode`,
RFC 6937), or that of a congestion control with a model of its own. A timeout is judged by F-RTO
(RFC 5682), and whatever turns out to have been no loss is undone. What is to be sent again is marked
in `Tcb.board`, and `output.retransmit` works it off. Read `scoreboard` and `episode` first.
"""

from __future__ import annotations

from scapystack.base.segment import FIN, SYN, Segment
from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp import pathmtu, tlp
from scapystack.layers.tcp.episode import FRTO_ASKED, FRTO_OFF, FRTO_RESENT, Episode
from scapystack.layers.tcp.rack import DUP_THRESH
from scapystack.layers.tcp.rate import sample
from scapystack.layers.tcp.state import CWR, LOSS, OPEN, RECOVERY
from scapystack.layers.tcp.tcb import NEVER, Tcb


def is_duplicate(c: Tcb, seg: Segment) -> bool:
    """RFC 5681 section 2: data in flight, no text, no SYN or FIN, same ACK, same window.

    Only for peers without SACK: with it, duplicates are those that tell of something (RFC 6675 section 2).
    """
    if c.sack_ok or c.snd_una == c.snd_nxt or len(seg.payload) or seg.flags & (SYN | FIN) or c.snd_wnd == 0:
        return False
    return seg.wnd << c.snd_wscale == c.snd_wnd


def on_ack(c: Tcb, seg: Segment, acked: int, before: int, prior_pipe: int, now: Nanoseconds) -> None:
    """The board has taken an ACK that moved SND.UNA by `acked`, or brought news by SACK, or is a duplicate.

    Before it, `before` octets were known to have arrived and `prior_pipe` were in the network.
    """
    board = c.board
    cc = c.cc
    lost = board.lost_total
    quiet = not (seg.sack or board.sacked.lefts or board.reordered)
    if quiet and c.ca_state == OPEN and c.episode is None and c.sack_ok:
        if board.lost_octets or c.rack.probe_end is not None:  # a reopened window, or a probe
            _probed(c, acked, seg, now)
    else:
        _look_closely(c, seg, acked, now)
    delivered = board.delivered - before
    state = c.ca_state
    if state == OPEN or cc.own_recovery:
        if acked:
            cc.on_ack(acked, now, c.rtt.srtt, board.nxt - board.una, c.cwnd_limited)
    elif state == LOSS:
        # slow start goes by what has arrived: an ACK that leaps over what was SACKed long ago is no burst
        cc.on_ack(delivered, now, c.rtt.srtt, board.nxt - board.una, True)
    else:
        assert c.episode is not None
        c.episode.progress(delivered, board.pipe, cc.ssthresh, c.snd_mss)
    if cc.wants_rate:
        cc.on_rate(sample(board, delivered, board.lost_total - lost, prior_pipe, state, now), now)
    if board.lost_octets or delivered:
        c.mark_dirty()


def _look_closely(c: Tcb, seg: Segment, acked: int, now: Nanoseconds) -> None:
    """Everything that an ACK may say beside that all is well."""
    board = c.board
    episode = c.episode
    if board.dsack is not None:
        c.core.counters["tcp.dsacks_received"] += 1
        c.note().dsack_dups += 1
        c.rack.saw_dsack(board.una, board.nxt)
    left = False
    if episode is not None:
        if _unfounded(c, acked, episode):
            _undo(c, episode, now)
        elif c.ca_state != OPEN and acked and board.una >= episode.recover:
            _leave(c, episode, now)
            left = True
        elif c.ca_state == OPEN and board.una > episode.until:
            c.episode = None  # a round trip later, and no D-SACK has come
    _probed(c, acked, seg, now)
    lost = board.lost_total
    if c.sack_ok:
        detect_losses(c, now)
    else:
        _newreno(c, acked)
    if c.ca_state in (OPEN, CWR) and (board.lost_total > lost or (left and board.lost_octets)):
        enter(c, RECOVERY, now)


def _probed(c: Tcb, acked: int, seg: Segment, now: Nanoseconds) -> None:
    if c.rack.probe_end is not None and tlp.on_ack(c, acked, bool(seg.sack)) and c.ca_state == OPEN:
        # 8985/7: section 7.4.2, there was a loss, though it is mended
        c.cc.on_loss(c.board.nxt - c.board.una + c.snd_mss, now)
        c.cc.on_recovery_exit(now)
        if c.ecn is not None:
            c.ecn.reduced(c.board.nxt)


# -- detection -----------------------------------------------------------------------------------------------


def detect_losses(c: Tcb, now: Nanoseconds) -> None:
    """RACK_detect_loss_and_arm_timer (8985/6, section 6.2)."""
    board = c.board
    rack = c.rack
    if board.reordered:
        rack.reordering_seen = True
        c.note().reordered(-(-board.reordered // c.snd_mss))
    sacked = board.sacked
    # 6675/4, IsLost: three ranges, or more than two segments' worth
    segments = DUP_THRESH if sacked.size > (DUP_THRESH - 1) * c.snd_mss else len(sacked)
    window = rack.window(c.ca_state >= RECOVERY, segments, c.rtt.min_rtt, c.rtt.srtt)
    due = board.lose_overtaken(board.xmit_rtt + window, now)
    if due is None:
        c.reorder_at = NEVER
    else:
        c.reorder_at = due
        c.arm(due)


def on_reorder_timer(c: Tcb, now: Nanoseconds) -> None:
    """What was overtaken has had its time."""
    lost = c.board.lost_total
    detect_losses(c, now)
    if c.board.lost_total > lost:
        if c.ca_state in (OPEN, CWR):
            enter(c, RECOVERY, now)
        c.mark_dirty()


def _newreno(c: Tcb, acked: int) -> None:
    """6582/3.2, and 5681/3.2-b, limited transmit: what duplicates tell of leaves the pipe, and new data follows."""
    board = c.board
    if c.ca_state == LOSS:
        return
    if acked:
        c.last_acked = acked
        if c.ca_state == RECOVERY:
            board.expect_duplicates()
            assert c.episode is not None
            if board.una >= c.episode.high_rxt:  # an ACK of a part of what went again tells of no hole
                board.lose_head(c.snd_mss)  # step 3, a partial ACK: the next hole
        else:
            c.dupacks = 0
            board.dup_octets = 0
        return
    c.dupacks += 1
    if c.dupacks == 1:
        board.expect_duplicates()
    board.duplicate(c.snd_mss)
    if c.ca_state != RECOVERY and c.dupacks >= DUP_THRESH and _is_a_loss(c):
        board.lose_head(c.snd_mss)


def _is_a_loss(c: Tcb) -> bool:
    """6582/3.2 step 1: three duplicates for `recover` itself may be the echo of what was sent twice.

    6582/4, the ACK heuristic: they are not if the window is open and the ACK before them covered little,
    for segments that the receiver had already would have been covered by it at a leap.
    """
    episode = c.episode
    if episode is None or c.board.una > episode.recover:
        return True
    return c.cc.cwnd > c.snd_mss and c.last_acked <= 4 * c.snd_mss


# -- entering and leaving ----------------------------------------------------------------------------------------


def enter(c: Tcb, state: int, now: Nanoseconds) -> None:
    """Reduce the window: RECOVERY for a loss (5681/3.2-c, 6675/5), CWR for ECN.

    A loss in the window that ECN has reduced already reduces it no further (RFC 3168 section 6.1.2).
    """
    board = c.board
    if c.mtu_probe is not None and c.mtu_probe.size and board.lost_octets and pathmtu.probe_lost(c):
        return
    flight = board.nxt - board.una
    if c.ca_state == CWR and c.episode is not None:
        c.episode.recover = board.nxt
    else:
        c.episode = Episode(board.una, board.nxt, flight)
        c.episode.undoable = state == RECOVERY
        # RFC 5681 section 3.2 step 2: what limited transmit has added to the flight does not count
        c.cc.on_loss(min(flight, c.cc.cwnd), now)
    c.ca_state = state
    board.expect_duplicates()
    c.rack.probe_end = None
    c.probe_at = NEVER
    c.episode.cwnd = board.pipe  # until the next ACK; what is lost at SND.UNA goes again whatever the pipe holds
    if c.ecn is not None:
        c.ecn.reduced(board.nxt)
    if state == RECOVERY:
        c.core.counters["tcp.fast_retransmits"] += 1


def on_ecn_echo(c: Tcb, now: Nanoseconds) -> None:
    """RFC 3168 section 6.1.2: an ECE is as good as a loss, once a window, and nothing has to be sent again.

    Where all of that window has arrived there is no flight to bring down, and no ACK would end it.
    """
    if c.ca_state != OPEN:
        return
    c.core.counters["tcp.ecn_reductions"] += 1
    if c.board.una < c.board.nxt:
        enter(c, CWR, now)
        return
    c.cc.on_loss(c.cc.cwnd, now)
    c.cc.on_recovery_exit(now)
    if c.ecn is not None:
        c.ecn.reduced(c.board.nxt)


def _leave(c: Tcb, episode: Episode, now: Nanoseconds) -> None:
    """All that was in flight when it began has arrived; D-SACKs may still show that nothing was lost."""
    episode.until = c.board.nxt
    if c.ca_state != LOSS:
        c.cc.on_recovery_exit(now)
    if c.ca_state != CWR:
        c.rack.recovery_ended()
    c.ca_state = OPEN
    c.dupacks = 0
    c.board.dup_octets = 0


def on_timeout(c: Tcb, now: Nanoseconds) -> None:
    """6298/5.4-5.6, RFC 5681 section 3.1, RFC 6582 section 3.2 step 4, RFC 8985 section 6.3."""
    board = c.board
    cc = c.cc
    flight = min(board.nxt - board.una, cc.cwnd)
    # 6675/5.1 and 5681/3.1-c: ssthresh falls once for a loss, not again while it is being mended
    old = c.episode
    first = c.retransmits == 0 and not (c.ca_state == LOSS and old is not None and old.recover > board.una)
    if c.ca_state == RECOVERY:
        flight = min(flight, cc.ssthresh)
    if c.ca_state == OPEN and board.sacked.size >= DUP_THRESH * c.snd_mss:
        c.note().reordering = DUP_THRESH  # so much reordering was none
    c.note().timeout(now)
    if c.ecn is not None:
        c.ecn.reduced(board.nxt)
    cc.on_rto(flight, now, first)
    c.rtt.back_off()
    if first or old is None:
        c.episode = Episode(board.una, board.nxt, flight)
        if c.ca_state != RECOVERY:  # RFC 5682 section 3.1 step 1: not out of another recovery
            c.episode.frto = FRTO_RESENT
    else:
        old.recover = board.nxt
        if not c.retransmits:  # nor out of the repair of an earlier one; for the same segment it begins again
            old.frto = FRTO_OFF
    c.ca_state = LOSS
    c.rack.probe_end = None
    c.probe_at = c.reorder_at = NEVER
    c.dupacks = 0
    c.retransmits += 1
    if board.sacked.size and (board.reneged or c.retransmits > 1):
        # 2018/8, tempered as RFC 6675 section 5.1 allows: SACKs outlive one timeout, if the peer keeps to them
        c.core.counters["tcp.sack_reneging"] += board.reneged
        board.forget_sacks()
    if c.sack_ok:
        wait = board.xmit_rtt + c.rack.window(True, 0, c.rtt.min_rtt, c.rtt.srtt)
        board.lose_older(now - wait)
    else:
        board.lose_all()
    c.mark_dirty()


def resend_all(c: Tcb) -> None:
    """Everything under way has to go again, and it is nobody's fault: the window reopened, or the path MTU fell."""
    board = c.board
    if c.mtu_probe is not None:
        c.mtu_probe.size = 0  # its text goes in small segments now, and their ACK says nothing
    if board.reneged:
        board.forget_sacks()
    board.lose_all()
    c.mark_dirty()


# -- undoing -----------------------------------------------------------------------------------------------------


def _unfounded(c: Tcb, acked: int, episode: Episode) -> bool:
    """Whether the ACK shows that what the episode was begun for had not been lost."""
    board = c.board
    if not episode.undoable:
        return False
    if board.dsack is not None and episode.came_twice(*board.dsack):
        return True
    if c.ca_state < RECOVERY:
        return False
    echo_ms = board.echo_ms
    # RFC 3522: the original has drawn the ACK. Where other holes are left, they may be losses
    early = acked and echo_ms is not None and episode.resent and echo_ms < episode.first_resend_ms
    whole = board.una >= episode.recover or not (board.lost_octets or board.sacked.size)
    if early and (c.ca_state == LOSS or whole):
        return True
    return c.ca_state == LOSS and _frto(c, acked, episode)


def _frto(c: Tcb, acked: int, episode: Episode) -> bool:
    """RFC 5682 sections 2.1 and 3.1."""
    board = c.board
    if episode.frto == FRTO_RESENT:
        if acked:
            # step 2: all is acknowledged: nothing to learn; else `output` sends new data instead of old
            episode.frto = FRTO_OFF if board.una >= episode.recover else FRTO_ASKED
        elif not c.sack_ok:
            episode.frto = FRTO_OFF  # section 2.1 step 2a, a duplicate
    elif episode.frto:
        episode.frto = FRTO_OFF
        # step 3b: what the timeout gave up, and nobody has sent again, has arrived; in one burst with the first ACK
        # it may, before new data could leave
        original = board.original
        return original is not None and original <= episode.recover and board.fack <= episode.recover
    return False


def _undo(c: Tcb, episode: Episode, now: Nanoseconds) -> None:
    """RFC 4015, RFC 5681 section 3.1: the windows as they were, and nothing counts as lost."""
    c.core.counters["tcp.spurious_timeouts" if c.ca_state == LOSS else "tcp.spurious_recoveries"] += 1
    episode.undoable = False
    episode.until = c.board.nxt
    episode.frto = FRTO_OFF
    episode.recover = c.board.una  # RFC 5682 section 2.1 step 3b: the next duplicates count
    c.cc.on_spurious(now)
    if c.ecn is not None:
        c.ecn.cwr = False  # the window was not reduced after all
    if c.ca_state:  # else it is over, and what is lost now is another matter
        c.board.find_none_lost()
    c.ca_state = OPEN
    c.dupacks = 0
    c.retransmits = 0  # the back-off of the RTO stays until a round trip is measured (RFC 6298 section 5)
