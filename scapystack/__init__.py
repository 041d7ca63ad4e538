"""A user-space TCP/IP stack for Linux whose frames are Scapy packets. See ARCHITECTURE.md."""

from typing import Any

from scapystack.base.frames import Frame

__version__ = "0.1.0"


def _dissect(frame: Frame) -> Any:
    """`Frame.packet`, the first time in this process: the codec, and with it Scapy, comes in now."""
    from scapystack.codec.packets import dissect_frame  # noqa: PLC0415

    Frame.dissector = dissect_frame
    return dissect_frame(frame)


Frame.dissector = _dissect
