"""The states of a TCP connection and the legal moves between them (RFC 9293 section 3.3.2, figure 5).

`TRANSITIONS` is the one table that every change of state is checked against (`Tcb.move`), and the
table the documentation's diagram is drawn from. A move that is not in it is a bug of ours, never
something a peer can bring about.
"""

from __future__ import annotations

CLOSED = 0
LISTEN = 1
SYN_SENT = 2
SYN_RECEIVED = 3
ESTABLISHED = 4
FIN_WAIT_1 = 5
FIN_WAIT_2 = 6
CLOSE_WAIT = 7
CLOSING = 8
LAST_ACK = 9
TIME_WAIT = 10

STATE_NAMES = (
    "CLOSED",
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
)

# From each state, where it may go and what takes it there. A connection that is reset, aborted or
# times out goes to CLOSED from anywhere, so that move stands in every row.
TRANSITIONS: dict[int, dict[int, str]] = {
    CLOSED: {
        SYN_SENT: "active OPEN: send SYN",
        SYN_RECEIVED: "a listener's child: receive SYN, send SYN and ACK",
    },
    LISTEN: {CLOSED: "CLOSE"},
    SYN_SENT: {
        ESTABLISHED: "receive SYN and ACK of SYN, send ACK",
        SYN_RECEIVED: "receive SYN (simultaneous open), send SYN and ACK",
        CLOSED: "CLOSE, reset, refused or timed out",
    },
    SYN_RECEIVED: {
        ESTABLISHED: "receive ACK of SYN",
        FIN_WAIT_1: "receive ACK of SYN after CLOSE: send FIN",
        CLOSED: "reset, refused or timed out",
    },
    ESTABLISHED: {
        FIN_WAIT_1: "CLOSE: send FIN",
        CLOSE_WAIT: "receive FIN, send ACK",
        CLOSED: "ABORT, reset or timed out",
    },
    FIN_WAIT_1: {
        FIN_WAIT_2: "receive ACK of FIN",
        CLOSING: "receive FIN, send ACK",
        CLOSED: "ABORT, reset or timed out",
    },
    FIN_WAIT_2: {
        TIME_WAIT: "receive FIN, send ACK",
        CLOSED: "ABORT, reset or timed out",
    },
    CLOSE_WAIT: {
        LAST_ACK: "CLOSE: send FIN",
        CLOSED: "ABORT, reset or timed out",
    },
    CLOSING: {
        TIME_WAIT: "receive ACK of FIN",
        CLOSED: "reset or timed out",
    },
    LAST_ACK: {CLOSED: "receive ACK of FIN, reset or timed out"},
    TIME_WAIT: {CLOSED: "2 MSL passed, or a new SYN took its place"},
}

SYNCHRONIZED = frozenset((ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT))
"""States in which both sides know both initial sequence numbers."""

CAN_SEND = frozenset((ESTABLISHED, CLOSE_WAIT))
"""States in which the application may still add to the stream."""

CAN_RECEIVE = frozenset((ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2))
"""States in which text of the peer is still taken (RFC 9293 section 3.10.7.4, seventh)."""

FLUSHES = frozenset((ESTABLISHED, FIN_WAIT_1, CLOSE_WAIT, CLOSING, LAST_ACK))
"""States in which data or a FIN of ours may still be under way."""

# What congestion control and loss recovery are doing, under Linux's names and numbers (`tcpi_ca_state`).
OPEN = 0
DISORDER = 1  # as OPEN, and something came out of order: shown in `info`, never kept
CWR = 2
RECOVERY = 3
LOSS = 4

CA_STATE_NAMES = ("Open", "Disorder", "CWR", "Recovery", "Loss")
