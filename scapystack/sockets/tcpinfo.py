"""TCP_INFO: `Connection.info()` packed as Linux's `struct tcp_info` (`linux/tcp.h`).

So that a program which unpacks the kernel's struct reads ours. The struct has grown at its end from
kernel to kernel: this is Linux 6.18's, of 280 octets, and whoever asks for less gets the front of it, as
from the kernel. What belongs to Accurate ECN reads 0. `unpack_tcp_info` is the way back, by name.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scapystack.layers.tcp import state as st

if TYPE_CHECKING:
    from scapystack.layers.tcp.info import TcpInfo
    from scapystack.layers.tcp.listen import Listener

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

_FIELDS: tuple[tuple[str, str], ...] = (
    *((name, "B") for name in ("state", "ca_state", "retransmits", "probes", "backoff", "options")),
    *((name, "B") for name in ("wscale", "limited")),  # bit fields: see `_packed`
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
    *((name, "I") for name in ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd", "rcv_wnd", "rehash")),
    *((name, "H") for name in ("total_rto", "total_rto_recoveries")),
    *((name, "I") for name in ("total_rto_time", "received_ce")),
    *(
        (name, "I")
        for name in (
            "delivered_e1_bytes", "delivered_e0_bytes", "delivered_ce_bytes", "received_e1_bytes", "received_e0_bytes",
            "received_ce_bytes",
        )
    ),
    *((name, "H") for name in ("accecn_fail_mode", "accecn_opt_seen")),
)  # fmt: skip

STRUCT = struct.Struct("=" + "".join(kind for _, kind in _FIELDS))
_MOST = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF, "Q": (1 << 64) - 1}
_ACCURATE_ECN = frozenset(name for name, _ in _FIELDS[-8:])


def pack_tcp_info(info: TcpInfo | None, listener: Listener | None = None) -> bytes:
    """The struct for what `Connection.info()` said, or a listener; for neither, a socket that is closed."""
    values = dict.fromkeys((name for name, _ in _FIELDS), 0)
    if info is not None:
        values |= _packed(info)
    else:
        values["state"] = _LINUX_STATE[st.CLOSED]
    if listener is not None:
        values["state"] = _LINUX_STATE[st.LISTEN]
        values["unacked"], values["sacked"] = len(listener.queue), listener.backlog
    return STRUCT.pack(*(min(max(values[name], 0), _MOST[kind]) for name, kind in _FIELDS))


def _packed(info: TcpInfo) -> dict[str, int]:
    values = {name: getattr(info, name, 0) for name, _ in _FIELDS if name not in _ACCURATE_ECN}
    values["state"] = _LINUX_STATE[st.STATE_NAMES.index(info.state)]
    values["ca_state"] = st.CA_STATE_NAMES.index(info.ca_state)
    # the first of a pair of bit fields has the low bits
    values["wscale"] = info.snd_wscale | info.rcv_wscale << 4
    values["min_rtt"] = info.min_rtt or _MOST["I"]
    values["limited"] = info.delivery_rate_app_limited | info.fastopen_client_fail << 1
    return values


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
