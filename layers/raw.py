"""Raw IP endpoints: whole packets of one protocol, a copy to each that wants them.

Read `scapystack.base.datagram` first. Sending takes a payload, or with `hdrincl` a whole packet
whose header is the application's (total length and header checksum are filled in, the source and
the id where they are zero, as raw(7) has it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scapystack.base.core import Core
from scapystack.base.datagram import Datagram

if TYPE_CHECKING:
    from scapystack.layers.ipv4 import Ipv4


class RawIp:
    """The raw endpoints of a stack."""

    def __init__(self, core: Core, ip: Ipv4) -> None:
        self.core = core
        self.ip = ip
        self.endpoints: dict[int, list[object]] = {}

    def input(self, datagram: Datagram) -> bool:
        """Give each matching endpoint its copy; whether there was one."""
        return False
