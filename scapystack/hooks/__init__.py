"""Where a user sees, changes, drops, delays or adds packets: between the links and the stack, both ways.

`frames` is the point itself (functions of a `Frame`), `packets` the hooks of `Stack.hook` (functions of a Scapy
packet), `filters` and `bpf` how they choose, `ready` and `hostile` hooks to take from the shelf.
docs/hooks.md shows them.
"""

from scapystack.hooks.frames import Hook, Hooks, Later, Verdict
from scapystack.hooks.packets import DROP, Delay, PacketHook

__all__ = ["DROP", "Delay", "Hook", "Hooks", "Later", "PacketHook", "Verdict"]
