"""Which rule of which RFC stands behind a counter or a timer: the texts of `explanation`."""

from __future__ import annotations

_FIRST = "RFC 9293 section 3.10.7.4, first (sequence number)"
_SECOND = "RFC 9293 section 3.10.7.4, second (RST)"
_FIFTH = "RFC 9293 section 3.10.7.4, fifth (ACK)"
_LISTEN = "RFC 9293 section 3.10.7.2 (LISTEN)"
_SYN_SENT = "RFC 9293 section 3.10.7.3 (SYN-SENT)"
_NOBODY = "RFC 9293 section 3.10.7.1 (CLOSED)"

SOURCES = {
    "tcp.drop.accept_queue": f"{_LISTEN}; the accept queue is full",
    "tcp.drop.ack_too_new": _FIFTH,
    "tcp.drop.ack_too_old": "RFC 5961 section 5.2",
    "tcp.drop.address": "RFC 9293 section 3.9.2.3 (MUST-57, MUST-63)",
    "tcp.drop.bad_ack": f"{_SYN_SENT}, first (ACK); in SYN-RECEIVED: {_FIFTH}",
    "tcp.drop.challenge_limit": "RFC 5961 section 7",
    "tcp.drop.checksum": "RFC 9293 section 3.1 (MUST-3)",
    "tcp.drop.dataofs": "RFC 9293 section 3.1",
    "tcp.drop.listen_flags": f"{_LISTEN}, fourth (other)",
    "tcp.drop.no_ack": _FIFTH,
    "tcp.drop.no_syn": f"{_SYN_SENT}, fifth",
    "tcp.drop.no_timestamp": "RFC 7323 section 3.2",
    "tcp.drop.old": _FIRST,
    "tcp.drop.out_of_order_bound": "RFC 9293 section 3.10.7.4, seventh (text)",
    "tcp.drop.outside_window": _FIRST,
    "tcp.drop.paws": "RFC 7323 section 5.3 (PAWS)",
    "tcp.drop.paws_old_ack": "RFC 7323 section 5.3 (PAWS)",
    "tcp.drop.receive_memory": "RFC 9293 section 3.10.7.4, seventh (text)",
    "tcp.drop.rst_limit": _NOBODY,
    "tcp.drop.rst_listen": f"{_LISTEN}, first (RST)",
    "tcp.drop.rst_no_ack": f"{_SYN_SENT}, second (RST)",
    "tcp.drop.rst_no_connection": _NOBODY,
    "tcp.drop.rst_outside_window": f"{_SECOND}; RFC 5961 section 3.2, 1)",
    "tcp.drop.rst_time_wait": "RFC 1337",
    "tcp.drop.syn_queue": f"{_LISTEN}, third (SYN); RFC 4987",
    "tcp.drop.truncated": "RFC 9293 section 3.1",
    "tcp.no_port": _NOBODY,
    "tcp.resets_received": _SECOND,
    "tcp.late_acks": "RFC 7323 section 5.3 (PAWS)",
    "tcp.duplicates": "RFC 2883",
    "tcp.trimmed": _FIRST,
    "tcp.dsacks_received": "RFC 2883",
    "tcp.fast_retransmits": "RFC 5681 section 3.2, RFC 6675, RFC 8985",
    "tcp.spurious_recoveries": "RFC 3522, RFC 3708",
    "tcp.spurious_timeouts": "RFC 5682, RFC 3522",
    "tcp.ecn_reductions": "RFC 3168 section 6.1.2",
    "tcp.sack_reneging": "RFC 2018 section 8",
    "tcp.out_of_order": "RFC 9293 section 3.10.7.4, seventh (SHLD-31)",
    "tcp.abort_on_data": "RFC 9293 section 3.10.7.4, seventh (SHLD-3)",
    "tcp.syncookies_recv": "RFC 4987 section 3.6",
    "tcp.syncookies_failed": "RFC 4987 section 3.6",
    "tcp.syncookies_sent": "RFC 4987 section 3.6",
}
"""Where the rule behind a counter stands."""

LAYERS = {
    "ethernet": "RFC 894, RFC 1122 section 2.3",
    "arp": "RFC 826, RFC 1122 section 2.3.2, RFC 5227",
    "ip": "RFC 791, RFC 1122 section 3.2.1",
    "icmp": "RFC 792, RFC 1122 section 3.2.2",
    "udp": "RFC 768, RFC 1122 section 4.1",
    "raw": "no RFC: the socket's bound",
    "tcp": "RFC 9293 section 3.10.7",
    "hooks": "no RFC: a hook of yours",
    "driver": "no RFC: the link",
}
"""The same for all other counters of a layer."""

FRAGMENT = "RFC 791 section 3.2 (fragmentation and reassembly)"

TIMERS = {
    "rtx": "the retransmission timer ran out (RFC 6298 section 5)",
    "pace": "the next burst of a paced sender was due",
    "probe": "no ACK came in time: a loss probe (RFC 8985 section 7.3)",
    "reorder": "the reordering window was over (RFC 8985 section 6.3)",
    "delack": "an ACK may be delayed no longer (RFC 9293 section 3.8.6.3, MUST-40)",
    "persist": "the window was closed for too long: a probe (RFC 9293 section 3.8.6.1)",
    "keepalive": "nothing was heard for too long: keep-alive (RFC 9293 section 3.8.4)",
    "wait": "2 MSL are over (RFC 9293 section 3.6.1), or nobody waits for the peer's FIN",
}
"""Why a timer had something sent."""


def source(counter: str) -> str:
    """Where the rule behind a counter stands."""
    return SOURCES.get(counter) or LAYERS.get(counter.partition(".")[0], "no RFC: a service of the stack's")
