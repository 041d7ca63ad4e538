"""Journals: who is dead, whose file it is, and what a torn one still says."""

import json
import os
import subprocess
import sys

import pytest

from scapystack.link.journal import Journal, leftovers, process_start


def entries(journals):
    return [[entry["what"] for entry in journal.entries] for journal in journals]


@pytest.fixture
def dead():
    """The id and start time of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = process_start(child.pid)
    child.communicate(b"\n")
    return child.pid, start


def test_journal_is_a_file_of_lines_while_there_is_something(tmp_path):
    journal = Journal(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    journal.add("address", interface="tap0", index=3)
    journal.add("link", interface="br0")
    (path,) = (tmp_path / "run").iterdir()
    assert [json.loads(line)["what"] for line in path.read_text().splitlines()] == ["address", "link"]
    assert path.name.startswith(f"{os.getpid()}-{process_start(os.getpid())}-")
    journal.remove()
    journal.remove()
    assert list((tmp_path / "run").iterdir()) == []


def test_journals_of_one_process_have_files_of_their_own(tmp_path):
    for _ in range(2):
        Journal(tmp_path).add("link")
    assert len(list(tmp_path.iterdir())) == 2


def test_leftovers_of_a_living_process_are_not_touched(tmp_path):
    Journal(tmp_path).add("link")
    assert leftovers(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1


def test_leftovers_of_a_dead_process_become_ours(tmp_path, dead):
    pid, start = dead
    (tmp_path / f"{pid}-{start}-1").write_text('{"what": "link"}\n{"what": "port"}\n')
    found = leftovers(tmp_path)
    assert entries(found) == [["link", "port"]]
    (path,) = tmp_path.iterdir()
    assert path.name.startswith(f"{os.getpid()}-")  # so that nobody else takes them, unless we die too
    assert leftovers(tmp_path) == []
    found[0].remove()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_process_whose_id_was_taken_again(tmp_path):
    (tmp_path / f"{os.getpid()}-1-1").write_text('{"what": "link"}\n')
    assert entries(leftovers(tmp_path)) == [["link"]]


def test_leftovers_torn_line_is_passed_over(tmp_path, dead):
    pid, start = dead
    (tmp_path / f"{pid}-{start}-1").write_text('{"what": "link"}\n[1]\n{"what": "po')
    assert entries(leftovers(tmp_path)) == [["link"]]


def test_leftovers_know_what_was_amended_and_taken_back(tmp_path, dead):
    pid, start = dead
    journal = Journal(tmp_path)
    journal.add("link", interface="br0")
    journal.amend(index=7)
    journal.add("route", prefix="10.0.0.0/8")
    journal.take_back()
    journal._path.rename(tmp_path / f"{pid}-{start}-1")
    (found,) = leftovers(tmp_path)
    assert found.entries == journal.entries == [{"what": "link", "interface": "br0", "index": 7}]


def test_leftovers_files_of_others_stay(tmp_path):
    for name in ("README", "x-y-z", "12", "-1-2"):
        (tmp_path / name).write_text("{}")
    assert leftovers(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 4


def test_journal_without_a_place_to_write_remembers(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file")
    journal.add("link")
    assert entries([journal]) == [["link"]]
    journal.remove()
    assert leftovers(tmp_path / "none") == []


def test_process_start_tells_the_living_from_the_dead(dead):
    assert process_start(os.getpid()) > 0
    assert process_start(dead[0]) != dead[1]
