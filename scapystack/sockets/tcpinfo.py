"""TCP_INFO: `Connection.info()` packed as Linux's `struct tcp_info` (`linux/tcp.h`, 232 octets).

So that a program which unpacks the kernel's struct reads ours. A field that our TCP does not keep
reads 0. `unpack_tcp_info` is the way back, by name.
"""

from __future__ import annotations

import struct
from typing import Any

from scapystack.layers.tcp import state as st

# Linux numbers the states its own way (include/net/tcp_states.h)
_LINUX_STATE = {
    st.ESTABLISHED: 1,
    st.SYN_SENT: 2,
    st.SYN_RECEIVED: 3,
    st.FIN_WAIT_1: 4,
    st.FIN_WAIT_2: 5,
    st.TIME_WAIT: 6,
    st.CLOSED: 7,
    st.CLOSE_WAIT: 8,
    st.LAST_ACK: 9,
    st.LISTEN: 10,
    st.CLOSING: 11,
}
_CA_STATE = {"Open": 0, "Disorder": 1, "CWR": 2, "Recovery": 3, "Loss": 4}

_FIELDS: tuple[tuple[str, str], ...] = (
    *((name, "B") for name in ("state", "ca_state", "retransmits", "probes", "backoff", "options")),
    *((name, "B") for name in ("wscale", "limited")),
    *(
        (name, "I")
        for name in (
            "rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets",
            "last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu", "rcv_ssthresh",
            "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering", "rcv_rtt", "rcv_space",
            "total_retrans",
        )
    ),
    *((name, "Q") for name in ("pacing_rate", "max_pacing_rate", "bytes_acked", "bytes_received")),
    *((name, "I") for name in ("segs_out", "segs_in", "notsent_bytes", "min_rtt", "data_segs_in", "data_segs_out")),
    *((name, "Q") for name in ("delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited")),
    *((name, "I") for name in ("delivered", "delivered_ce")),
    *((name, "Q") for name in ("bytes_sent", "bytes_retrans")),
    *((name, "I") for name in ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd")),
)  # fmt: skip

STRUCT = struct.Struct("=" + "".join(kind for _, kind in _FIELDS))
_LIMIT = {"B": 0xFF, "I": 0xFFFFFFFF, "Q": (1 << 64) - 1}
_MICROSECONDS = frozenset(("rto", "ato", "rtt", "rttvar", "rcv_rtt", "min_rtt"))


def pack_tcp_info(info: Any, listening: bool = False) -> bytes:
    """The struct for what `Connection.info()` said; None is a socket without a connection."""
    values = [min(max(_field(info, name), 0), _LIMIT[kind]) for name, kind in _FIELDS]
    if info is not None:
        values[0] = _LINUX_STATE[st.STATE_NAMES.index(info.state)]
        values[1] = _CA_STATE.get(info.ca_state, 0)
    else:
        values[0] = _LINUX_STATE[st.LISTEN if listening else st.CLOSED]
    return STRUCT.pack(*values)


def _field(info: Any, name: str) -> int:
    if info is None:
        return 0
    if name == "wscale":  # two bit fields, the first in the low bits
        return getattr(info, "snd_wscale", 0) | getattr(info, "rcv_wscale", 0) << 4
    value = getattr(info, name + "_us" if name in _MICROSECONDS else name, 0)
    return value if isinstance(value, int) else 0


def unpack_tcp_info(data: bytes) -> dict[str, int]:
    """The fields of a `struct tcp_info` by their names without `tcpi_`; those cut off are missing."""
    fields: dict[str, int] = {}
    at = 0
    for name, kind in _FIELDS:
        size = struct.calcsize("=" + kind)
        if at + size > len(data):
            break
        fields[name] = int.from_bytes(data[at : at + size], "little")
        at += size
    return fields
