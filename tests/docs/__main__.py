"""`python -m tests.docs`: write the documents that are drawn from the sources."""

from __future__ import annotations

from tests.docs import counters, settings, trace

for document in (settings, counters, trace):
    document.DOCUMENT.write_text(document.render())
    print(document.DOCUMENT)
