"""The stack of a replay: a profile, and what the recording shows of the side whose part it takes.

An option that the recorded side did not agree to, a small receive buffer, keep-alives: all that was the
configuration of that host and not the conversation. The stack gets the same, so that the recorded peer finds what it
found then. What `overrides` sets (of the Python call) goes above that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scapystack.base.config import StackConfig, limits
from scapystack.base.segment import ACK, CWR, ECE
from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.fastopen import CLIENT, SERVER
from scapystack.layers.tcp.tcb import Options
from scapystack.replay.facts import TcpFacts, TcpSide

ETHERNET_MTU = 1_500
_HEADERS = 40
_LEAST_MTU = 128


@dataclass(frozen=True)
class Terms:
    """How a replay is to be done. `timed`: at the recorded times, whatever the stack has sent until then."""

    profile: str = "linux"
    timed: bool = False
    seed: int = 0
    overrides: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> StackConfig:
        """The profile and the overrides alone."""
        config = StackConfig.profile(self.profile)
        for name, value in self.overrides.items():
            config.set(name, value)
        config.check()
        return config


def mirrored(terms: Terms, facts: TcpFacts, as_opener: bool) -> StackConfig:
    """The configuration for a TCP conversation."""
    config = StackConfig.profile(terms.profile)
    ours, peer = (facts.opener, facts.other) if as_opener else (facts.other, facts.opener)
    tcp = config.tcp
    if ours.syn is not None:
        offered = peer.syn if ours.syn.flags & ACK else None  # an answer cannot tell of what it was not offered
        if offered is None or offered.tsval is not None:
            tcp.timestamps = ours.syn.tsval is not None
        if offered is None or offered.sack_permitted:
            tcp.sack = ours.syn.sack_permitted
        if offered is None or offered.wscale is not None:
            tcp.window_scaling = ours.syn.wscale is not None
        if offered is None:
            tcp.ecn = "on" if ours.syn.flags & (ECE | CWR) == ECE | CWR else tcp.ecn
        elif offered.flags & (ECE | CWR) == ECE | CWR and not ours.syn.flags & ECE:
            tcp.ecn = "off"
    if ours.window:
        tcp.rcvbuf = ours.window
    if any(side.syn is not None and side.syn.fastopen is not None for side in (ours, peer)):
        tcp.fastopen = CLIENT | SERVER
    for name, value in terms.overrides.items():
        config.set(name, value)
    config.check()
    return config


def mtu_of(side: TcpSide) -> int:
    """The MTU that a side's MSS tells of."""
    mss = side.syn.mss if side.syn is not None else None
    return ETHERNET_MTU if mss is None else min(max(mss + _HEADERS, _LEAST_MTU), 65_535)


def set_options(options: Options, side: TcpSide) -> None:
    """What the application of the recorded side had set on its socket, as far as it shows."""
    options.oobinline = True  # so that the stream is the recorded one
    if side.syn is not None and side.syn.flags & ACK:
        options.fastopen = 1
    if side.nodelay:
        options.nodelay = True
    if side.keepalive_idle:
        options.keepalive = True
        options.keepalive_idle_ms = _milliseconds(side.keepalive_idle)
        options.keepalive_interval_ms = _milliseconds(side.keepalive_interval or side.keepalive_idle)


def _milliseconds(span: int) -> int:
    least, most = limits("tcp.keepalive_idle_ms")
    return min(max(round(span / MILLISECOND), least), most)
