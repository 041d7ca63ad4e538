"""What travels through the stack and what every room needs; it imports nothing of ours.

Read first: `frames` (what goes over a link), `datagram` (what IP hands up), `segment` (what TCP
works on), `core` (what the layers share), `codec` (the interface to the compiled Scapy layers).
"""
