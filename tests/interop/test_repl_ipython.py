"""`scapystack repl` with IPython, in a pseudo-terminal: what keys do, and that the stack goes on meanwhile."""

import sqlite3
from contextlib import closing

import pytest

from scapystack.replay import Rerun
from scapystack.trace import read_trace
from tests.interop.netns import KERNEL, STACK, needs
from tests.interop.test_shell_terminal import Terminal


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home that no Scapy and no IPython has seen yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    return tmp_path


@needs("ping")
def test_ipython_keys_end_lines_and_never_the_stack(netns, home):
    t = Terminal(netns, home, "repl", "--trace", "trace.jsonl", "--record", "session.rec")
    assert f"the stack is {STACK} on tap0" in t.greeting
    assert "IPython" in t.greeting
    with netns.socket() as server:
        server.bind((KERNEL, 7))
        server.listen()
        t.run(f"c = stack.connect(('{KERNEL}', 7))")
        with server.accept()[0] as peer:
            peer.settimeout(10)
            t.child.send("c.from_p\t")
            t.child.expect(r"from_p(\x1b\[[0-9?;]*\w)*eer")  # completed: drawn with what was typed, or after it
            t.child.send("\x15")  # the line away
            assert "ESTABLISHED" in t.run("c")
            assert "send sequence space" in t.run("c.show()")
            t.begin("c.sr1(b'question', timeout=60)")
            assert peer.recv(100) == b"question"
            t.child.send("\x03")
            assert "KeyboardInterrupt" in t.end()
            assert netns.run("ping", "-c", "1", "-W", "2", STACK).count(b"ttl=64") == 1
            peer.sendall(b"answer")
            assert "b'answer'" in t.run("c.recv()")
            told = t.run("explain(IP())")
            assert "has not seen this packet" in told
            assert "Traceback" not in told
            told = t.run(f"stack.connect(('{KERNEL}', 8))")
            assert "ConnectionRefusedError: [Errno 111] Connection refused" in told
            assert "Traceback" not in told
            assert "Traceback (most recent call last)" in t.run("%tb")
            t.run("c.rst()")
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
    assert t.leave()[1] == 0
    assert "ESTABLISHED" in {event["state"] for event in read_trace(home / "trace.jsonl")}
    with Rerun(home / "session.rec") as rerun:
        assert rerun.run()
        assert rerun.differences == []
    with closing(sqlite3.connect(home / ".config" / "scapy" / "history")) as history:  # what the next one begins with
        assert ("c.rst()",) in history.execute("select source from history").fetchall()
