"""Every example in docs/codec.md runs and prints what it says."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_docs_codec_examples_run():
    results = doctest.testfile(str(DOCS / "codec.md"), module_relative=False, report=True)
    assert results.failed == 0
    assert results.attempted > 40
