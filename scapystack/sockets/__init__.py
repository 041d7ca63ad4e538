"""BSD sockets on our stack, the `Stack` that a program holds, and services that run in its loop.

`from scapystack.sockets import Stack, AF_INET, SOCK_STREAM` is all that a program needs. Read
`facade` first, then `base`, `channel`, `stream`, `datagram`; `services` stands on its own.
"""

from scapystack.sockets import constants
from scapystack.sockets.base import Socket
from scapystack.sockets.constants import *  # noqa: F403  # it has an __all__: the socket module's names
from scapystack.sockets.facade import Stack
from scapystack.sockets.ping import Pinger, PingReply

__all__ = ["PingReply", "Pinger", "Socket", "Stack"]
__all__ += constants.__all__
