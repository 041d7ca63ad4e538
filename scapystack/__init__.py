"""A user-space TCP/IP stack for Linux whose frames are Scapy packets. See ARCHITECTURE.md."""

from typing import TYPE_CHECKING, Any

from scapystack.base.frames import Frame

if TYPE_CHECKING:
    from scapystack.sockets.facade import Stack

__version__ = "0.1.0"
__all__ = ["Stack", "__version__"]


def __getattr__(name: str) -> Any:
    """`scapystack.Stack`, and all that stands behind it, comes in when it is asked for (PEP 562)."""
    if name == "Stack":
        from scapystack.sockets.facade import Stack  # noqa: PLC0415

        return Stack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _dissect(frame: Frame) -> Any:
    """`Frame.packet`, the first time in this process: the codec, and with it Scapy, comes in now."""
    from scapystack.codec.packets import dissect_frame  # noqa: PLC0415

    Frame.dissector = dissect_frame
    return dissect_frame(frame)


Frame.dissector = _dissect
