"""Every number that shapes the stack, as plain data: passed in, never global, settable by name.

`StackConfig().set("tcp.msl_ms", "5000")` is what `--set tcp.msl_ms=5000` does. Times carry their
unit in the name; a value of 0 means "off" only where its comment says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from scapystack.base.errors import ConfigError


@dataclass(slots=True)
class ArpConfig:
    """ARP (RFC 826, RFC 1122 section 2.3.2, RFC 5227)."""

    reachable_ms: int = 60_000  # an entry is used without a question for this long
    stale_ms: int = 600_000  # then it is used while it is asked again, and forgotten after this
    retry_ms: int = 1_000  # between requests (RFC 1122 section 2.3.2.1: at most one a second)
    tries: int = 4  # requests before giving up: host unreachable
    max_entries: int = 1_024
    max_queue: int = 256  # packets that wait for one address: 64 KB in fragments of an MTU of 576 are 119
    max_queue_bytes: int = 262_144
    probe_count: int = 3  # RFC 5227 section 1.1: PROBE_NUM
    probe_interval_ms: int = 1_000
    announce_count: int = 2
    announce_interval_ms: int = 2_000
    defend_interval_ms: int = 10_000
    probe: bool = False  # probe for conflicts before using an address


@dataclass(slots=True)
class IpConfig:
    """IPv4 (RFC 791, RFC 1122, RFC 1812)."""

    ttl: int = 64
    forward: bool = False
    redirects: bool = True  # send them when forwarding out of the interface a packet came in by
    accept_redirects: bool = True
    source_route: bool = False  # forward or accept source-routed packets
    pmtu_expire_ms: int = 600_000  # RFC 1191 section 3: a path MTU is tried larger again after 10 minutes (5 at least)
    reassembly_ms: int = 60_000  # RFC 1122 section 3.3.2: 60 to 120 s
    reassembly_max_bytes: int = 4_194_304
    reassembly_max_datagrams: int = 256
    reassembly_max_fragments: int = 2_048  # pieces held of one datagram


@dataclass(slots=True)
class IcmpConfig:
    """ICMP (RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3)."""

    echo: bool = True
    echo_broadcast: bool = False  # RFC 1122 section 3.2.2.6 lets a host ignore these
    errors_per_second: int = 1_000  # token bucket over all destinations
    errors_burst: int = 50
    peer_errors_per_second: int = 10  # and towards one destination
    peer_errors_burst: int = 10


@dataclass(slots=True)
class UdpConfig:
    """UDP (RFC 768, RFC 1122 section 4.1)."""

    rcvbuf: int = 262_144  # octets waiting in one socket
    checksum: bool = True
    ephemeral_low: int = 32_768
    ephemeral_high: int = 60_999


@dataclass(slots=True)
class TcpConfig:
    """TCP (RFC 9293 and those it cites)."""

    rcvbuf: int = 4_194_304  # largest receive window of a connection
    sndbuf: int = 4_194_304  # octets an application may have under way
    mss: int = 0  # 0: what the interface's MTU allows
    window_scaling: bool = True
    timestamps: bool = True
    sack: bool = True
    loss_probes: bool = True  # TLP (RFC 8985 section 7)
    nodelay: bool = False
    delayed_ack_ms: int = 40  # MUST-40: below 500
    ack_every_segments: int = 2  # SHLD-19
    quick_acks: int = 16  # segments acknowledged at once at the start, as Linux does
    min_rto_ms: int = 200  # RFC 6298 section 2.4 says 1,000; Linux uses 200
    initial_rto_ms: int = 1_000
    max_rto_ms: int = 120_000
    syn_retries: int = 7  # with max_rto: over three minutes (MUST-23)
    synack_retries: int = 5
    r1_retries: int = 3  # SHLD-10
    r2_ms: int = 924_600  # SHLD-11: at least 100 s; Linux's tcp_retries2=15
    pmtu_timeouts: int = 1  # RFC 5927 section 7.2, MAXSEGRTO: before ICMP is believed against sizes that did arrive
    msl_ms: int = 30_000  # TIME-WAIT is twice this; RFC 9293 section 3.4.2 suggests two minutes
    time_wait_reuse_ms: int = 1_000  # in TIME-WAIT so long, connect() may have the ports, by timestamps; 0: never
    fin_wait_2_ms: int = 60_000  # only for a connection that no application holds any more
    initial_cwnd_segments: int = 10  # RFC 6928
    congestion: str = "reno"
    keepalive_idle_ms: int = 7_200_000  # MUST-28
    keepalive_interval_ms: int = 75_000
    keepalive_probes: int = 9
    user_timeout_ms: int = 0  # 0: R2 rules
    fastopen: int = 0  # RFC 7413, on request: 1 as a client, 2 as a server, 3 as both (0: neither)
    fastopen_key_ms: int = 3_600_000  # a server's cookie is good for one to two of these
    fastopen_cache: int = 1_024  # servers whose cookie a client keeps, and paths where it has failed
    backlog: int = 128
    max_syn_backlog: int = 1_024  # half-open connections of one listener
    max_half_open: int = 2_048  # and of all listeners
    syn_cookies: str = "on"  # RFC 4987 section 3.6: when a SYN queue is full; "off": never, "always": for every SYN
    max_accept_queue: int = 8_192  # connections that wait for accept, at all listeners (each has its backlog)
    max_out_of_order_segments: int = 4_096
    max_time_wait: int = 16_384
    max_orphans: int = 4_096
    challenge_acks_per_second: int = 10  # for one connection (RFC 5961 section 7, CVE-2016-5696)
    rst_timestamps: bool = False  # RFC 7323 section 5.2: in the answer to a segment for no connection; Linux has none
    rsts_per_second: int = 1_000  # answers to segments for no connection
    ephemeral_low: int = 32_768
    ephemeral_high: int = 60_999


@dataclass(slots=True)
class StackConfig:
    """All of it. A stack keeps the object it was given and reads it live."""

    arp: ArpConfig = field(default_factory=ArpConfig)
    ip: IpConfig = field(default_factory=IpConfig)
    icmp: IcmpConfig = field(default_factory=IcmpConfig)
    udp: UdpConfig = field(default_factory=UdpConfig)
    tcp: TcpConfig = field(default_factory=TcpConfig)

    def names(self) -> list[str]:
        """Every setting as `group.name`."""
        return [f"{g.name}.{f.name}" for g in fields(self) for f in fields(getattr(self, g.name))]

    def set(self, name: str, text: str) -> None:
        """Set `group.name` from text. Raises ConfigError for a name or value that cannot be."""
        group_name, _, field_name = name.partition(".")
        group = getattr(self, group_name, None) if group_name in {g.name for g in fields(self)} else None
        if group is None or field_name not in {f.name for f in fields(group)}:
            raise ConfigError(f"no setting named {name!r}; one of: {', '.join(self.names())}")
        value = _parse(name, text, type(getattr(group, field_name)))
        least, most = _RANGES.get(name, (value, value))
        if not value and name in _INTERVALS:
            raise ConfigError(f"{name} is a time, and must not be 0")
        if not least <= value <= most:
            raise ConfigError(f"{name} is a number from {least} to {most}, not {text}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ConfigError(f"{name} is one of {', '.join(_CHOICES[name])}, not {text!r}")
        setattr(group, field_name, value)


_PORTS = (1, 65_535)
_RANGES: dict[str, tuple[int, int]] = {
    "ip.ttl": (1, 255),  # RFC 1122 section 3.2.1.7: never 0; one octet
    "ip.pmtu_expire_ms": (300_000, 1 << 52),  # RFC 1191 section 3; the most is as good as never
    "tcp.fastopen": (0, 3),
    "udp.ephemeral_low": _PORTS,
    "udp.ephemeral_high": _PORTS,
    "tcp.ephemeral_low": _PORTS,
    "tcp.ephemeral_high": _PORTS,
}
"""What fits a header's field; other numbers are bounded by nothing but sense."""
_INTERVALS = {
    "arp.retry_ms", "arp.probe_interval_ms", "arp.announce_interval_ms", "tcp.min_rto_ms", "tcp.initial_rto_ms",
    "tcp.max_rto_ms", "tcp.keepalive_idle_ms", "tcp.keepalive_interval_ms", "tcp.fastopen_key_ms",
}  # fmt: skip
"""What is waited again and again: with 0 it would never end."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "tcp.syn_cookies": ("off", "on", "always"),
}
"""Settings that are one word out of a few."""


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        value = {
            "1": True,
            "on": True,
            "true": True,
            "yes": True,
            "0": False,
            "off": False,
            "false": False,
            "no": False,
        }
        if text.lower() in value:
            return value[text.lower()]
        raise ConfigError(f"{name} is on or off, not {text!r}")
    if kind is int:
        try:
            number = int(text.replace("_", ""))
        except ValueError:
            raise ConfigError(f"{name} is a whole number, not {text!r}") from None
        if number < 0:
            raise ConfigError(f"{name} cannot be negative")
        return number
    return text
