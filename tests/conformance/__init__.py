"""Which requirement of which RFC is met where, and shown by which test: drawn from the sources.

`requirements.tsv` is the list of requirements, `hostile.tsv` the rows of hostile input, `reasons.tsv` says why
a requirement is not met, `scan.py` finds the citations, `table.py` joins them, and `python -m tests.conformance`
writes `docs/conformance.md` and `docs/hostile.md`.
"""
