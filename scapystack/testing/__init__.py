"""Tests against a stack: a peer that follows a script, in virtual time and in relative numbers.

    from scapy.layers.inet import TCP
    from scapystack.testing import ScriptedPeer

    with ScriptedPeer() as peer:
        server = peer.stack.create_server(("", 80))
        c = peer.tcp(80)
        c.send(TCP(flags="S"))
        c.expect(TCP(flags="SA", seq=0, ack=1))
        c.send(TCP(flags="A"))
        c.send(TCP(flags="PA") / b"hello")
        c.expect(TCP(flags="A", ack=6))
        c.expect()                                  # and then nothing

Read `peer` and `conversation`; `docs/testing.md` is the guide.
"""

from scapystack.testing.conversation import Conversation, Offer
from scapystack.testing.peer import ScriptedPeer
from scapystack.testing.script import Mismatch, Script
from scapystack.testing.transcript import Transcript

__all__ = ["Conversation", "Mismatch", "Offer", "Script", "ScriptedPeer", "Transcript"]
