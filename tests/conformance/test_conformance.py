"""The table of conformance is whole, true to the sources, and as committed."""

import io
import subprocess
import sys
import tokenize

import pytest

from tests.conformance.__main__ import main
from tests.conformance.scan import ROOT, Finder, Place, citations, comments, may_cite, spellings
from tests.conformance.table import DOCS, Table, read_code, read_tests


@pytest.fixture(scope="module")
def sources():
    """The sources take a second to read; what is planted, none."""
    return list(read_code()), list(read_tests())


@pytest.fixture(scope="module")
def table(sources):
    return Table.load(*sources)


def test_every_requirement_is_met_and_shown_or_says_why_not(table):
    assert "\n".join(table.holes()) == ""


def test_every_must_and_should_of_rfc_9293_is_shown_by_a_test(table):
    ruled = [r for r in table.requirements.values() if r.kind in ("MUST", "SHLD")]
    assert {r.kind: sum(1 for o in ruled if o.kind == r.kind) for r in ruled} == {"MUST": 69, "SHLD": 31}
    assert {r.id for r in ruled if not r.tests or r.reason} == set()


@pytest.mark.parametrize("name", ["conformance.md", "hostile.md"])
def test_document_is_what_the_sources_say(table, name):
    told = table.documents()[DOCS / name]
    assert (DOCS / name).read_text() == told, f"run `python -m tests.conformance` and commit docs/{name}"


def test_every_row_of_hostile_input_has_a_test_with_a_connection_beside(table):
    rows = [r for r in table.requirements.values() if r.is_hostile]
    assert len(rows) == 29
    assert [r.id for r in rows if not any("test_hostile_table" in place.file for place in r.tests)] == []


def test_tests_that_are_named_exist_for_pytest(table):
    """No helper, and no constant whose comment names an id."""
    named = {place for r in table.requirements.values() for place in r.tests}
    assert len(named) > 300
    for file in {place.file for place in named}:
        source = (ROOT / file).read_text()
        assert {p.name for p in named if p.file == file and f"def {p.name.rpartition('.')[2]}(" not in source} == set()


# --- holes are seen


@pytest.fixture
def planted(sources, table, monkeypatch, tmp_path):
    """What holes there are with these lines more in the lists."""
    monkeypatch.setattr("tests.conformance.table.LISTS", tmp_path)

    def told(requirements="", reasons=""):
        for name, more in (("requirements.tsv", requirements), ("reasons.tsv", reasons), ("hostile.tsv", "")):
            (tmp_path / name).write_text((ROOT / "tests" / "conformance" / name).read_text() + more)
        return sorted(set(Table.load(*sources).holes()) - set(table.holes()))

    return told


def test_requirement_that_nobody_names_is_a_hole(planted):
    told = planted(requirements="9293/MUST-99\t3\tfly\n")
    assert told == [
        "9293/MUST-99: no code names it and no reason says why (fly)",
        "9293/MUST-99: no test names it and no reason says why (fly)",
    ]


def test_requirement_with_a_reason_is_none(planted):
    row = "9293/MAY-99\t3\tfly\n"
    assert planted(row, "9293/MAY-99\tno wings\n") == []


def test_requirement_met_in_part_still_needs_code_and_tests(planted):
    assert planted("9293/MAY-99\t3\tfly\n", "9293/MAY-99\tpartly: no landing\n") == [
        "9293/MAY-99: no code names it and no reason says why (fly)",
        "9293/MAY-99: no test names it and no reason says why (fly)",
    ]
    assert planted(reasons="9293/MAY-3\tpartly: in jest\n") == []


def test_reason_for_what_is_met_is_told(planted):
    (told,) = planted(reasons="9293/MUST-3\tno time\n")
    assert told.startswith("9293/MUST-3: code and tests name it")


def test_reason_for_nothing_is_told(planted):
    (told,) = planted(reasons="9293/MUST-98\tno time\n")
    assert told.startswith("9293/MUST-98: reasons.tsv gives a reason")


# --- what counts as a citation

FINDER = Finder(["9293/MUST-1", "9293/MUST-12", "5961/3-a", "5961/5", "6298/5.1-5.3", "8200/4.5-b", "5722/4, 8200/4.5",
                 "4861/6.1,7.1,8.1", "hostile/fin", "1337", "826", "1122/3.2.1.6-7"])  # fmt: skip


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("MUST-12.", {"9293/MUST-12"}),
        ("(MUST-1, 5961/3-a)", {"9293/MUST-1", "5961/3-a"}),
        ("9293/MUST-1", set()),
        ("6298/5.1-5.3: start", {"6298/5.1-5.3"}),
        ("RFC 1337, RFC 826.", {"1337", "826"}),
        ("1337: ignored", {"1337"}),
        ("1337.5 and 13370 and 1337/2", set()),
        ("8200/4.5", {"5722/4, 8200/4.5"}),
        ("8200/4.5-b", {"8200/4.5-b"}),
        ("4861/7.1", {"4861/6.1,7.1,8.1"}),
        ("1122/3.2.1.6-7.", {"1122/3.2.1.6-7"}),
        ("XMUST-1 MUST-1x MUST-1-2", set()),
    ],
)
def test_finder_reads_ids(text, ids):
    assert FINDER.ids(text) == ids


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("hostile/fin and hostile/fun, hostile / other", {"hostile/fun"}),
        ("MUST-13", {"MUST-13"}),
        ("5961/3-z and 6298/5.1", {"5961/3-z", "6298/5.1"}),
        ("MUST-12, 5961/5, RFC 1337", set()),
        ("127/8 and 10/24 and 8312/4.1", set()),
    ],
)
def test_finder_tells_what_looks_like_an_id_and_is_none(text, wrong):
    assert FINDER.unknown(text) == wrong


@pytest.mark.parametrize(
    "source",
    ["x = '#'", 'x = "\\"#"', "x = ''  # here's", 'x = """\n# "no\n"""  # yes', "'''a'b\n#'''#c", "f'#{x}#'", "#", ""],
)
def test_comments_are_what_python_takes_for_comments(source):
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    assert list(comments(source)) == [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]


def test_spelling_of_a_row_may_be_cited(table):
    assert all(may_cite(spelling) for id_ in table.requirements for spelling in spellings(id_))


def test_spellings_of_rows_that_hold_several():
    assert spellings("4821/7, 8899/5") == ["4821/7, 8899/5", "4821/7", "8899/5"]
    assert spellings("9293/MUST-3") == ["MUST-3"]


SOURCE = '''"""Top."""

# above the limit
LIMIT = 3  # beside the limit


# --- section, before f


def f():
    """In f."""
    return 1  # inside f


class C:
    """In C."""

    field: int = 1  # beside the field

    # above g
    @staticmethod
    def g():
        # inside g
        def h():
            """In h."""
'''


def test_citation_belongs_to_the_name_around_it_or_below(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.conformance.scan.ROOT", tmp_path)
    (tmp_path / "a.py").write_text(SOURCE)
    found = {text.lstrip("# ").rstrip("."): place for place, text in citations(tmp_path / "a.py")}
    assert found == {
        "Top": Place("a.py", ""),
        "above the limit": Place("a.py", "LIMIT"),
        "beside the limit": Place("a.py", "LIMIT"),
        "--- section, before f": Place("a.py", "f"),
        "In f": Place("a.py", "f"),
        "inside f": Place("a.py", "f"),
        "In C": Place("a.py", "C"),
        "beside the field": Place("a.py", "C.field"),
        "above g": Place("a.py", "C.g"),
        "inside g": Place("a.py", "C.g"),
        "In h": Place("a.py", "C.g"),
    }


# --- the program


def test_program_tells_the_holes_and_writes_nothing(table, monkeypatch, capsys):
    monkeypatch.setattr(Table, "load", lambda: table)  # the sources as they are: reading them again takes seconds
    before = [path.stat().st_mtime_ns for path in DOCS.iterdir()]
    status = main(["--holes"])
    assert (status, *capsys.readouterr()) == (0, "no holes\n", "")
    assert [path.stat().st_mtime_ns for path in DOCS.iterdir()] == before


def test_program_knows_no_other_word():
    command = [sys.executable, "-m", "tests.conformance", "--help-me"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("usage: ")
