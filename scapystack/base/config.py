"""Every number that shapes the stack, as plain data: passed in, never global, settable by name.

`StackConfig().set("tcp.msl_ms", "5000")` is what `--set tcp.msl_ms=5000` does, and
`StackConfig.profile("rfc")` what `--profile rfc` does. Times carry their unit in the name; a value of 0
means "off" only where its comment says so. The comment beside a number is its documentation:
`docs/config.md` is drawn from them.
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
    max_entries: int = 1_024  # addresses in the table; the one used longest ago goes first
    max_queue: int = 256  # packets that wait for one address: 64 KB in fragments of an MTU of 576 are 119
    max_queue_bytes: int = 262_144  # and their octets
    probe_count: int = 3  # RFC 5227 section 1.1: PROBE_NUM
    probe_interval_ms: int = 1_000  # PROBE_MIN; as much again is added at random (RFC 5227 section 2.1.1)
    announce_count: int = 2  # ANNOUNCE_NUM
    announce_interval_ms: int = 2_000  # ANNOUNCE_INTERVAL
    defend_interval_ms: int = 10_000  # DEFEND_INTERVAL: a second conflict within it loses the address
    probe: bool = False  # probe for conflicts before using an address


@dataclass(slots=True)
class IpConfig:
    """IPv4 (RFC 791, RFC 1122, RFC 1812)."""

    ttl: int = 64  # of packets that say no other (RFC 1700)
    forward: bool = False  # be a router: pass on what is for others (RFC 1812)
    redirects: bool = True  # send them when forwarding out of the interface a packet came in by
    accept_redirects: bool = True  # RFC 1122 section 3.2.2.2, as a host
    source_route: bool = False  # forward or accept source-routed packets
    pmtu_expire_ms: int = 600_000  # RFC 1191 section 3: a path MTU is tried larger again after 10 minutes (5 at least)
    reassembly_ms: int = 60_000  # RFC 1122 section 3.3.2: 60 to 120 s
    reassembly_max_bytes: int = 4_194_304  # octets held of all datagrams that lack a part; the oldest go first
    reassembly_max_datagrams: int = 256  # and how many such datagrams
    reassembly_max_fragments: int = 2_048  # pieces held of one datagram


@dataclass(slots=True)
class IcmpConfig:
    """ICMP (RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3)."""

    echo: bool = True  # answer pings (RFC 1122 section 3.2.2.6)
    echo_broadcast: bool = False  # RFC 1122 section 3.2.2.6 lets a host ignore these
    errors_per_second: int = 1_000  # token bucket over all destinations
    errors_burst: int = 50  # how many may go at once
    peer_errors_per_second: int = 10  # and towards one destination
    peer_errors_burst: int = 10  # how many of those at once


@dataclass(slots=True)
class UdpConfig:
    """UDP (RFC 768, RFC 1122 section 4.1)."""

    rcvbuf: int = 262_144  # octets waiting in one socket
    checksum: bool = True  # send it (RFC 1122 section 4.1.3.4); what arrives with one is checked in any case
    ephemeral_low: int = 32_768  # the range that ports are chosen from (RFC 6056); Linux's
    ephemeral_high: int = 60_999


@dataclass(slots=True)
class TcpConfig:
    """TCP (RFC 9293 and those it cites). The defaults are the profile `linux`."""

    rcvbuf: int = 4_194_304  # largest receive window of a connection; the window scale that SYNs offer follows
    sndbuf: int = 4_194_304  # octets an application may have under way
    mss: int = 0  # the most that our SYNs ask for; 0: what the interface's MTU allows
    window_scaling: bool = True  # RFC 7323 section 2
    timestamps: bool = True  # RFC 7323 section 3; the clock ticks every millisecond
    sack: bool = True  # RFC 2018
    loss_probes: bool = True  # TLP (RFC 8985 section 7)
    ecn: str = "accept-only"  # RFC 3168: off, on, or on where the peer asks for it (SHLD-8)
    nodelay: bool = False  # new sockets send small segments at once (TCP_NODELAY, MUST-17); SHLD-7: off
    delayed_ack_ms: int = 40  # how long an ACK may wait for company (MUST-40: below 500)
    ack_every_segments: int = 2  # so many full segments are acknowledged at once (SHLD-19)
    coalesce: bool = True  # segments that came in one read and follow each other walk as one, as with Linux's GRO
    quick_acks: int = 16  # segments acknowledged at once at the start, and after a pause of an RTO
    min_rto_ms: int = 200  # the least retransmission timeout (6298/2.4)
    min_rto_above_srtt: bool = True  # it is what RTO adds to the round trip at least; off: what RTO is at least
    initial_rto_ms: int = 1_000  # before a round trip was measured, of a SYN above all (RFC 6298 section 2.1)
    max_rto_ms: int = 120_000  # backing off goes no further (RFC 6298 section 2.5: at least 60 s)
    syn_retries: int = 7  # of a SYN; with max_rto_ms over three minutes (MUST-23)
    syn_linear_timeouts: int = 4  # the first so many of a SYN do not double the wait, and come on top (Linux since 6.5)
    synack_retries: int = 5  # of a SYN and ACK, to whoever sent the SYN
    r1_retries: int = 3  # timeouts of a segment until IP is asked for another way (SHLD-10: at least 3)
    r2_ms: int = 924_600  # until a connection is given up (SHLD-11: at least 100 s); tcp_retries2=15
    pmtu_timeouts: int = 1  # RFC 5927 section 7.2, MAXSEGRTO: before ICMP is believed against sizes that did arrive
    mtu_probing: int = 1  # RFC 4821: 0 off, 1 where large segments vanish without an error, 2 always, from the base up
    mtu_base_mss: int = 1_024  # what a search begins with (RFC 4821 section 7.2)
    mtu_floor_mss: int = 512  # what it falls back to at last
    mtu_black_hole_timeouts: int = 2  # of a segment larger than any that arrived; of others r1_retries
    mtu_probe_interval_ms: int = 600_000  # a search is repeated (RFC 4821 section 7.3: not before 5 minutes)
    msl_ms: int = 30_000  # the longest life of a segment; TIME-WAIT takes twice this (RFC 9293 section 3.4.2)
    time_wait_reuse_ms: int = 1_000  # in TIME-WAIT so long, connect() may have the ports, by timestamps; 0: never
    fin_wait_2_ms: int = 60_000  # for the peer's FIN, once no application holds the connection any more
    orphan_ms: int = 180_000  # so long without progress ends one that no application holds; 0: as any other
    initial_cwnd_segments: int = 10  # RFC 6928 section 2
    slow_after_lost_syns: int = 2  # with so many SYNs lost the first window is one segment (RFC 6928 section 2)
    congestion: str = "cubic"  # the congestion control of new sockets (TCP_CONGESTION)
    keepalive_idle_ms: int = 7_200_000  # of sockets with SO_KEEPALIVE (MUST-28: at least two hours)
    keepalive_interval_ms: int = 75_000  # between probes that nobody answers
    keepalive_probes: int = 9  # such probes before the connection is dropped (MUST-29: not after one alone)
    user_timeout_ms: int = 0  # unacknowledged for so long ends a connection (RFC 5482); 0: r2_ms rules
    fastopen: int = 0  # RFC 7413, on request: 1 as a client, 2 as a server, 3 as both (0: neither)
    fastopen_key_ms: int = 3_600_000  # a server's cookie is good for one to two of these
    fastopen_cache: int = 1_024  # servers whose cookie a client keeps, and paths where it has failed
    backlog: int = 128  # connections that wait for accept() where listen() says nothing
    max_syn_backlog: int = 1_024  # half-open connections of one listener
    max_half_open: int = 2_048  # and of all listeners
    syn_cookies: str = "on"  # RFC 4987 section 3.6: when a SYN queue is full; "off": never, "always": for every SYN
    max_accept_queue: int = 8_192  # connections that wait for accept(), at all listeners (each has its backlog)
    max_send_bytes: int = 268_435_456  # in all send buffers; over it write() leaves each connection 16 KB
    max_receive_bytes: int = 268_435_456  # received and not read, of all connections; over it the same
    max_out_of_order_bytes: int = 67_108_864  # held behind gaps, of all; whoever has most gives up its far end
    max_out_of_order_segments: int = 4_096  # pieces that a connection holds behind a gap
    max_time_wait: int = 16_384  # connections in TIME-WAIT; the oldest go first
    max_orphans: int = 4_096  # connections that finish by themselves after close(); the oldest are reset first
    challenge_acks: int = 10  # of one connection, at most, in a period (RFC 5961 section 7, CVE-2016-5696):
    challenge_period_ms: int = 1_000  # it lasts between this and twice as long, and half of them or more are given
    rst_timestamps: bool = False  # RFC 7323 section 5.2: in the answer to a segment for no connection; Linux has none
    rsts_per_second: int = 1_000  # answers to segments for no connection, at most; limited in the same way
    ephemeral_low: int = 32_768  # the range that ports are chosen from (RFC 6056)
    ephemeral_high: int = 60_999

    @classmethod
    def linux(cls) -> TcpConfig:
        """What a Linux 6 peer shows on the wire; the default, for it is what everybody is used to meet."""
        return cls()

    @classmethod
    def rfc(cls) -> TcpConfig:
        """What the RFCs say or recommend where Linux does otherwise."""
        return cls(
            delayed_ack_ms=200,  # RFC 9293 section 3.8.6.3 says below 500; what BSD made usual
            quick_acks=0,  # RFC 5681 section 4.2: an ACK for every second segment, from the first on
            min_rto_ms=1_000,  # RFC 6298 section 2.4
            min_rto_above_srtt=False,  # RFC 6298 section 2.4: RTO itself is rounded up
            r2_ms=100_000,  # RFC 9293 section 3.8.3 (SHLD-11)
            msl_ms=120_000,  # RFC 9293 section 3.4.2
            syn_linear_timeouts=0,  # RFC 6298 section 5.5
            slow_after_lost_syns=1,  # RFC 5681 section 3.1 (5681/3.1-d)
            rst_timestamps=True,  # RFC 7323 section 5.2
            ephemeral_low=1_024,  # RFC 6056 section 3.2: all of 1024-65535
            ephemeral_high=65_535,  # RFC 6056 section 3.2
        )


PROFILES = {"linux": TcpConfig.linux, "rfc": TcpConfig.rfc}
"""By the names that `StackConfig.profile` and `--profile` take."""


@dataclass(slots=True)
class StackConfig:
    """All of it. A stack keeps the object it was given and reads it live."""

    arp: ArpConfig = field(default_factory=ArpConfig)
    ip: IpConfig = field(default_factory=IpConfig)
    icmp: IcmpConfig = field(default_factory=IcmpConfig)
    udp: UdpConfig = field(default_factory=UdpConfig)
    tcp: TcpConfig = field(default_factory=TcpConfig)

    @classmethod
    def profile(cls, name: str) -> StackConfig:
        """The defaults, with TCP as `linux` (they are its) or `rfc` has it. Raises ConfigError."""
        if name not in PROFILES:
            raise ConfigError(f"no profile named {name!r}; one of: {', '.join(PROFILES)}")
        return cls(tcp=PROFILES[name]())

    def names(self) -> list[str]:
        """Every setting as `group.name`."""
        return [f"{g.name}.{f.name}" for g in fields(self) for f in fields(getattr(self, g.name))]

    def set(self, name: str, text: str) -> None:
        """Set `group.name` from text. Raises ConfigError for a name or value that cannot be."""
        group_name, _, field_name = name.partition(".")
        group = getattr(self, group_name, None) if group_name in {g.name for g in fields(self)} else None
        if group is None or field_name not in {f.name for f in fields(group)}:
            raise self.unknown(name)
        value = _parse(name, text, type(getattr(group, field_name)))
        if type(value) is int:
            least, most = limits(name)
            if not least <= value <= most and (value or name not in OFF_WITH_0):
                off = "0, or " if name in OFF_WITH_0 else ""
                raise ConfigError(f"{name} is {off}a number from {least} to {most}, not {_short(text)}")
        if name in CHOICES and value not in CHOICES[name]:
            raise ConfigError(f"{name} is one of {', '.join(CHOICES[name])}, not {_short(text)!r}")
        setattr(group, field_name, value)

    def unknown(self, name: str, where: str = "docs/config.md and --set help list them") -> ConfigError:
        """What to raise for a name that no setting has: it tells those that are like it, and where all are listed."""
        from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone

        known = self.names()
        lasts = {each.partition(".")[2]: each for each in known}
        like = name.lower()
        near = [each for each in known if len(like) > 2 and like in each]
        near += get_close_matches(like, known)
        near += [lasts[each] for each in get_close_matches(like.rpartition(".")[2], lasts)]
        about = f"did you mean {', '.join(list(dict.fromkeys(near))[:_MOST_NEAR])}? " if near else ""
        return ConfigError(f"no setting named {_short(name)!r}; {about}{where}")

    def check(self) -> None:
        """See that the numbers agree with each other. Raises ConfigError."""
        for low, high in _ORDERED:
            least, most = self._value(low), self._value(high)
            if least > most:
                raise ConfigError(f"{low} is {least}, more than {high}, which is {most}")

    def _value(self, name: str) -> int:
        group, _, field_name = name.partition(".")
        value: int = getattr(getattr(self, group), field_name)
        return value


def limits(name: str) -> tuple[int, int]:
    """The least and the most that a numeric setting can be."""
    return _RANGES.get(name, _ANY)


MOST = 0x7FFFFFFF
"""Of every number that no field or rule holds to less: in milliseconds, 24 days."""
_ANY = (0, MOST)
_PORTS = (1, 65_535)
_POSITIVE = (1, MOST)
_BUFFER = (1, 1 << 30)
_RANGES: dict[str, tuple[int, int]] = {
    "arp.retry_ms": _POSITIVE,  # what is waited again and again: with 0 it would never end
    "arp.probe_interval_ms": _POSITIVE,
    "arp.announce_interval_ms": _POSITIVE,
    "arp.max_entries": _POSITIVE,
    "ip.ttl": (1, 255),  # RFC 1122 section 3.2.1.7: never 0; one octet
    "ip.pmtu_expire_ms": (300_000, 1 << 52),  # RFC 1191 section 3; the most is as good as never
    "tcp.fastopen": (0, 3),
    "tcp.mtu_probing": (0, 2),
    "tcp.mtu_base_mss": (48, 65_495),
    "tcp.mtu_floor_mss": (48, 65_495),  # RFC 791: a packet of 68 octets has this, and 8 are the least of options
    "tcp.mtu_black_hole_timeouts": _POSITIVE,
    "tcp.mtu_probe_interval_ms": (300_000, MOST),
    "udp.ephemeral_low": _PORTS,
    "udp.ephemeral_high": _PORTS,
    "tcp.rcvbuf": _BUFFER,  # RFC 7323 section 2.3: no window is larger
    "tcp.sndbuf": _BUFFER,
    "tcp.mss": (88, 65_495),
    "tcp.delayed_ack_ms": (0, 499),  # MUST-40
    "tcp.ack_every_segments": (1, 255),
    "tcp.min_rto_ms": _POSITIVE,
    "tcp.initial_rto_ms": _POSITIVE,
    "tcp.max_rto_ms": (1_000, MOST),  # RFC 6298 section 2.5 asks for 60 s; under a round trip nothing would arrive
    "tcp.syn_retries": (0, 127),
    "tcp.syn_linear_timeouts": (0, 255),
    "tcp.synack_retries": (0, 127),
    "tcp.initial_cwnd_segments": (1, 65_535),
    "tcp.keepalive_idle_ms": _POSITIVE,
    "tcp.keepalive_interval_ms": _POSITIVE,
    "tcp.keepalive_probes": (2, 127),  # MUST-29
    "tcp.fastopen_key_ms": _POSITIVE,
    "tcp.max_accept_queue": _POSITIVE,
    "tcp.max_out_of_order_segments": _POSITIVE,
    "tcp.ephemeral_low": _PORTS,
    "tcp.ephemeral_high": _PORTS,
}
"""Where 0 or the extremes would break something, or no field could hold them."""
OFF_WITH_0 = {"tcp.mss"}
"""Those for which 0 stands outside of the range and means what the comment says."""
_ORDERED = (
    ("udp.ephemeral_low", "udp.ephemeral_high"),
    ("tcp.ephemeral_low", "tcp.ephemeral_high"),
    ("tcp.min_rto_ms", "tcp.max_rto_ms"),
    ("tcp.initial_rto_ms", "tcp.max_rto_ms"),
)
"""What must not be more than what."""
CHOICES: dict[str, tuple[str, ...]] = {
    "tcp.ecn": ("off", "on", "accept-only"),
    "tcp.syn_cookies": ("off", "on", "always"),
}
"""Settings that are one word out of a few."""


_MOST_NEAR = 5


def _short(text: str) -> str:
    return text if len(text) < 40 else f"{text[:36]}..."


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
        raise ConfigError(f"{name} is on or off, not {_short(text)!r}")
    if kind is int:
        try:
            number = int(text.replace("_", ""))
        except ValueError:
            raise ConfigError(f"{name} is a whole number, not {_short(text)!r}") from None
        if number < 0:
            raise ConfigError(f"{name} cannot be negative")
        return number
    return text
