"""Pictures of TCP conversations, of captures and of traces: `docs/pictures.md` shows them all.

    from scapystack.plot import plot, save
    save(plot("transfer.pcapng"), "transfer.png")
    save(plot("run.jsonl", "window"), "window.svg")

`sources` finds the conversation, `flow` is what it is made to, `analysis` what follows from it, and each kind of
picture has its file. matplotlib (the extra `plot`) is imported when the first picture is made.
"""

from scapystack.plot.canvas import save, show
from scapystack.plot.flow import Flow, Seen
from scapystack.plot.ladder import text as ladder_text
from scapystack.plot.pictures import KINDS, plot, state_diagram
from scapystack.plot.sources import Found, conversations, flow_of

__all__ = [
    "KINDS", "Flow", "Found", "Seen", "conversations", "flow_of", "ladder_text", "plot", "save", "show",
    "state_diagram",
]  # fmt: skip
