"""asyncio on our stack: streams, transports and protocols in the event loop's own thread, without descriptors.

`AsyncStack` (`stack.py`) is what a program holds. A transport is the asyncio face of one endpoint: the driver
calls its `on_ready` in the round that brought the news, and it calls the protocol. So the way of an octet is that
of a service in the fd loop, and asyncio's own machinery is between it and the application only where that
awaits. Nothing here knows what clock there is or who makes the rounds: `runtime.aio` in a live loop, a
simulation in virtual time. Read `common`, `stream`, then `stack`.
"""

from scapystack.sockets.aio.server import StackServer
from scapystack.sockets.aio.stack import AsyncStack

__all__ = ["AsyncStack", "StackServer"]
