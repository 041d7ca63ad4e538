"""Links: what carries frames between a stack and the world, and the host's side of it.

Read first: `base` (what a link promises), then `tap` (the real one), `memory` (two stacks in one
process), `capture` and `impair` (wrappers around any link), `netlink` and `hostsetup` (interfaces,
addresses, bridges and namespaces of the host, and how they are put back).
"""
