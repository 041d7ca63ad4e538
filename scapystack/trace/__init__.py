"""Traces: all variables of TCP connections, at every event of theirs, as lines of JSON.

    with stack.driver.entered() as net:
        trace = TraceFile(net, "run.jsonl")

`scapystack run --trace run.jsonl` does the same. `events` says what an event is, `docs/trace.md` what each field
means.
"""

from scapystack.trace.events import Event, Tracer
from scapystack.trace.files import TraceFile, read_trace

__all__ = ["Event", "TraceFile", "Tracer", "read_trace"]
