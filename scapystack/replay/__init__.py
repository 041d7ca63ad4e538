"""Captures as regression tests: one side of a recorded conversation against the stack, in virtual time, without root.

    from scapystack.replay import replay
    for result in replay("pcaps/nc-transfer.pcap", role="both"):
        assert result.verdict == "passed", result.findings

How a capture becomes verdicts, in the order of reading:

- `link.pcapread` reads packets from the file, `packets` makes whole IP packets of them, `conversations` sorts these by
  who talks with whom, and `facts` gathers what must be known of a TCP conversation beforehand;
- `stage` is a stack on a wire; `tcp` goes through a conversation on it: `moved` packets of the recorded
  peer, an `application` that does what the recorded one did, a `judge` of all that the stack sends;
- `transcript` writes down what passes and compares it with a golden transcript; `run` is the whole for many files.

A live stack can be recorded and run again, octet for octet: `roster` says who is called in it, `record` writes down
what goes in, `rerun` does it once more; `values` is the language of the file.
"""

from scapystack.replay.record import Recorder
from scapystack.replay.rerun import Rerun
from scapystack.replay.run import Result, replay, replay_each
from scapystack.replay.settings import Terms

__all__ = ["Recorder", "Rerun", "Result", "Terms", "replay", "replay_each"]
