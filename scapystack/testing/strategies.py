"""Hypothesis strategies: packets and frames as Scapy has them, damaged ones, and what links do to them.

    from hypothesis import given
    from scapystack.testing import strategies as some

    @given(some.packets(some.tcp(dport=80)))
    def test_anything_at_port_80_is_survived(packet): ...

    @given(some.impairments())
    def test_octets_arrive_whatever_the_link_does(faults): ...     # network.link(a, b, **faults)

Every field that is given is that value, or drawn from that strategy; the others are anything that fits. All shrink to
plain packets and to links without faults. Needs hypothesis, which nothing else in the package does.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.l2 import ARP, Dot1Q, Ether

from scapystack.base.addr import ip_text, mac_text
from scapystack.base.checksum import checksum

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError:
    raise ImportError("scapystack.testing.strategies needs hypothesis: pip install hypothesis") from None

Packets = SearchStrategy[Any]
"""Of Scapy packets."""

_U3, _U8, _U9, _U16, _U32 = (st.integers(0, (1 << bits) - 1) for bits in (3, 8, 9, 16, 32))
_OPTION_ROOM = 40
_IP_OPTIONS: tuple[list[Any], ...] = ([], [IPOption_NOP()] * 4, [IPOption_RR(length=11, routers=["1.2.3.4"] * 2)])


def ports() -> SearchStrategy[int]:
    """Any port, 0 too."""
    return _U16


def addresses() -> SearchStrategy[str]:
    """Any IPv4 address, possible as a host's or not."""
    return st.binary(min_size=4, max_size=4).map(ip_text)


def macs() -> SearchStrategy[str]:
    """Any hardware address."""
    return st.binary(min_size=6, max_size=6).map(mac_text)


def payloads(max_size: int = 40) -> SearchStrategy[bytes]:
    """Octets."""
    return st.binary(max_size=max_size)


def tcp_options(max_size: int = 6) -> SearchStrategy[list[tuple[Any, Any]]]:
    """Options as Scapy has them, known and unknown, as many as a header has room for."""
    option: SearchStrategy[tuple[Any, Any]] = st.one_of(
        st.just(("NOP", None)),
        st.tuples(st.just("MSS"), _U16),
        st.tuples(st.just("WScale"), _U8),
        st.just(("SAckOK", b"")),
        st.tuples(st.just("Timestamp"), st.tuples(_U32, _U32)),
        st.integers(1, 3).flatmap(
            lambda n: st.tuples(st.just("SAck"), st.lists(_U32, min_size=2 * n, max_size=2 * n).map(tuple))
        ),
        st.tuples(st.integers(35, 255), st.binary(max_size=6)),
    )
    return st.lists(option, max_size=max_size).filter(_fits)


def _fits(options: list[tuple[Any, Any]]) -> bool:
    return len(TCP().get_field("options").i2m(None, options)) <= _OPTION_ROOM


def tcp(payload: SearchStrategy[bytes] | bytes | None = None, **fields: Any) -> Packets:
    """A segment: `TCP` with a payload. Any flags, any numbers, unless `fields` says otherwise (`flags="S"`)."""
    anything = {
        "sport": ports(), "dport": ports(), "seq": _U32, "ack": _U32, "reserved": _U3, "flags": _U9, "window": _U16,
        "urgptr": _U16, "options": tcp_options(),
    }  # fmt: skip
    return _layer(TCP, anything | fields, payloads() if payload is None else payload)


def udp(payload: SearchStrategy[bytes] | bytes | None = None, **fields: Any) -> Packets:
    """A datagram: `UDP` with a payload."""
    return _layer(UDP, {"sport": ports(), "dport": ports()} | fields, payloads() if payload is None else payload)


def icmp(payload: SearchStrategy[bytes] | bytes | None = None, **fields: Any) -> Packets:
    """A message: `ICMP` of any type and code, with a payload."""
    return _layer(ICMP, {"type": _U8, "code": _U8} | fields, payloads() if payload is None else payload)


def packets(above: Packets | None = None, **fields: Any) -> Packets:
    """`IP` with what is drawn from `above` (`tcp`, `udp` or `icmp`): lengths and checksums are right."""
    anything = {
        "src": addresses(), "dst": addresses(), "tos": _U8, "id": _U16, "ttl": _U8,
        "options": st.sampled_from(_IP_OPTIONS),
    }  # fmt: skip
    return _layer(IP, anything | fields, st.one_of(tcp(), udp(), icmp()) if above is None else above)


def arp(**fields: Any) -> Packets:
    """`ARP` between any stations."""
    anything = {"op": _U16, "hwsrc": macs(), "psrc": addresses(), "hwdst": macs(), "pdst": addresses()}
    return _layer(ARP, anything | fields, b"")


def frames(above: Packets | None = None, **fields: Any) -> SearchStrategy[bytes]:
    """The octets of a sound Ethernet frame with what is drawn from `above` (IP, ARP, IP in a VLAN)."""
    vlan = _layer(Dot1Q, {"vlan": st.integers(0, 4095)}, packets())
    anything = {"dst": macs(), "src": macs()} | fields
    return _layer(Ether, anything, st.one_of(packets(), arp(), vlan) if above is None else above).map(bytes)


@st.composite
def _layer(draw: DrawFn, make: Any, fields: dict[str, Any], payload: Any) -> Any:
    made = make(**{name: draw(each) if isinstance(each, SearchStrategy) else each for name, each in fields.items()})
    above = draw(payload) if isinstance(payload, SearchStrategy) else payload
    return made / above if above else made


@st.composite
def mutated(draw: DrawFn, sound: SearchStrategy[bytes] | None = None) -> bytes:
    """A frame with octets changed, cut off or added; in half of them the IPv4 checksum is made right again, so that
    more gets past the first look."""
    data = bytearray(draw(frames() if sound is None else sound))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(_U8)
    if draw(st.booleans()) and len(data) >= 34:
        end = 14 + (data[14] & 15) * 4
        data[24:26] = b"\0\0"
        data[24:26] = checksum(data[14:end]).to_bytes(2, "big")
    cut = draw(st.integers(0, 20))
    return bytes(data[: len(data) - cut] if cut > 15 else data) + draw(st.binary(max_size=4))


def impairments(
    max_loss: float = 0.2, max_delay_ms: float = 200.0, min_rate: int = 20_000
) -> SearchStrategy[dict[str, Any]]:
    """What a link does, as arguments for `Network.link` or `Impairment`: losses (single and in runs), duplicates,
    disorder, damage, delay, jitter, a bottleneck of `min_rate` octets a second or more with a queue. None of it, often.
    """
    chances = st.floats(0.0, max_loss)
    delays = st.floats(0.0, max_delay_ms)
    return st.fixed_dictionaries(
        {},
        optional={
            "loss": chances,
            "duplicate": chances,
            "reorder": chances,
            "corrupt": st.floats(0.0, max_loss / 4),
            "delay_ms": delays,
            "jitter_ms": delays,
            "rate": st.integers(min_rate, 100_000_000),
            "queue_ms": st.floats(50.0, 2_000.0),
            "burst": st.floats(1.0, 5.0),
        },
    ).map(_possible)


def _possible(faults: dict[str, Any]) -> dict[str, Any]:
    """Losses in runs need losses."""
    if "loss" not in faults:
        faults.pop("burst", None)
    return faults
