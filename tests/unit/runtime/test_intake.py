"""What may be joined on its way into a stack (`runtime.intake`): only what TCP alone will look at."""

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from scapystack.base.addr import ip, mac
from scapystack.base.config import StackConfig
from scapystack.base.frames import Frame
from scapystack.link.base import BaseLink
from scapystack.runtime.clock import VirtualClock
from scapystack.runtime.driver import Driver
from scapystack.runtime.intake import BATCH, Port
from scapystack.stack import NetStack

OURS, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
NEXT_MAC = "02:00:00:00:01:02"


class Batch(BaseLink):
    """A link that gives what `waits` in one read."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name, mac(address), 1500, 0)
        self.timed = True
        self.waits: list[Frame] = []
        self.sent: list[Frame] = []

    def next_at(self) -> int | None:
        return 0 if self.waits else None

    def read(self, limit: int = 64) -> list[Frame]:
        frames, self.waits = self.waits[:limit], self.waits[limit:]
        return frames

    def write(self, frames) -> None:
        self.sent += frames

    def close(self) -> None:
        pass


def segments(dst: str) -> list[bytes]:
    """Two that follow each other, the first with PSH, of ids that do not."""
    head = Ether(src=PEER_MAC, dst=OURS)
    ids = {1: 7, 1001: 5000}
    return [
        bytes(head / IP(src="10.0.0.2", dst=dst, id=ids[seq]) / TCP(seq=seq, ack=9, flags=flags) / bytes(1000))
        for seq, flags in ((1, "PA"), (1001, "A"))
    ]


def came(driver: Driver, link: Batch, octets: list[bytes]) -> None:
    link.waits = [Frame(each, (), link.iface) for each in octets]
    driver.round()


def made(forward: bool) -> tuple[Driver, Batch, Batch]:
    config = StackConfig()
    config.ip.forward = forward
    driver = Driver(NetStack(config), VirtualClock(), strict=True)
    links = (Batch("eth0", OURS), Batch("eth1", "02:00:00:00:01:01"))
    for link, address in zip(links, ("10.0.0.1/24", "10.0.1.1/24"), strict=True):
        driver.stack.add_address(driver.attach(link), address)
    driver.stack.arp.add_static(links[1].iface, ip("10.0.1.2"), mac(NEXT_MAC))
    return driver, *links


def test_intake_segments_for_us_are_joined() -> None:
    driver, link, _ = made(forward=False)
    came(driver, link, segments("10.0.0.1"))
    assert driver.stack.tcp.segs_in == 1


def test_intake_a_router_passes_segments_on_as_they_came() -> None:
    """RFC 1812 section 5.3: PSH and the IP's id are the sender's."""
    driver, link, other = made(forward=True)
    octets = segments("10.0.1.2")
    came(driver, link, octets)
    left = [frame.packet for frame in other.sent]
    assert [(p[IP].id, str(p[TCP].flags), p[TCP].seq) for p in left] == [(7, "PA", 1), (5000, "A", 1001)]
    assert [bytes(p[TCP]) for p in left] == [each[34:] for each in octets]


def test_intake_a_raw_socket_sees_each_segment_with_its_checksum() -> None:
    driver, link, _ = made(forward=False)
    raw = driver.stack.raw.open(6)
    octets = segments("10.0.0.1")
    came(driver, link, octets)
    assert [raw.recv() for _ in octets] == [(each[14:], ip("10.0.0.2")) for each in octets]
    raw.close()
    came(driver, link, octets)
    assert driver.stack.tcp.segs_in == 3


def test_intake_port_reads_more_at_once_after_a_batch_joined_to_few() -> None:
    _, link, _ = made(forward=False)
    assert link.iface is not None
    port = Port(link, link.iface)
    limits = []
    for count, frames in ((BATCH, 3), (4 * BATCH, 20), (4 * BATCH, 4 * BATCH), (BATCH, 60), (2, 2), (1, 1)):
        port.adapt(count, frames)
        limits.append(port.limit)
    # of what stays apart, such as ACKs, each batch is answered soon
    assert limits == [4 * BATCH, 4 * BATCH, BATCH, BATCH, BATCH, 1]
