"""README's session of `scapystack repl`, typed into a pseudo-terminal as it stands there, against a real web server.

`python -m tests.interop.test_readme_repl` types it and writes what was seen into README.md.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pexpect

from tests.interop.netns import LIMIT_S, Namespace

README = Path(__file__).parents[2] / "README.md"
HEADING = "## Hands on a live connection"
PROMPT, MORE = ">>> ", "... "
VARIES = [
    (r"10\.0\.0\.1([.:])\d+", r"10.0.0.1\1PORT"),
    (r"\b(seq|ack|val|ecr) \d+(:\d+)?", r"\1 N"),
    (r"\b(\w+)=[\d.]+ms", r"\1=N ms"),
    (r"due in [\d.]+ ms", "due in N ms"),
    (r"-> \d\d+\b|\b\d\d+ ->", "N"),
]
"""What is another in each run: ports, numbers of sequence, times."""


def written():
    """The lines of the session: those for the shell, and those of the console, with what was seen."""
    text = README.read_text().partition(HEADING)[2]
    (block,) = re.findall(r"```\n(# .*?)```", text, re.DOTALL)[:1]
    lines = block.splitlines()
    shell = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return shell, lines[len(shell) :]


def stable(line):
    for pattern, name in VARIES:
        line = re.sub(pattern, name, line)
    return line


class Console:
    """`scapystack repl` on a pseudo-terminal, with Python's own console: IPython draws each key anew."""

    def __init__(self, command, home):
        (home / "scapy").mkdir()
        (home / "scapy" / "prestart.py").write_text(
            "from scapy.themes import BlackAndWhite\n"
            "conf.interactive_shell, conf.color_theme = 'python', BlackAndWhite()\n"
        )
        environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "TERM": "dumb"}
        self.child = pexpect.spawn(
            command[0], command[1:], dimensions=(50, 1_000), encoding="utf-8", timeout=LIMIT_S,
            env=environment, cwd=str(home), echo=False,
        )  # fmt: skip
        self.child.delaybeforesend = None
        self._seen()

    def _seen(self):
        self.child.expect_exact([PROMPT, MORE])
        return self.child.before.replace("\r", "").strip("\n").splitlines()

    def type(self, line):
        """Enter a line; what was seen until the next prompt."""
        self.child.send(line + "\n")
        return [each for each in self._seen() if each != line]

    def leave(self):
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus


def typed(ns, home):
    """Type it all in the namespace; the lines of the console's session as they were seen, and its exit status."""
    shell, session = written()
    add, serve, repl = (_here(line, ns).removesuffix(" &").split() for line in shell)
    assert add == ["ip", "netns", "add", ns.name]  # which the fixture has done
    with subprocess.Popen(serve, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            console = Console(repl, home)
            _until_it_listens(ns)
            seen = []
            for line in session:
                if line.startswith((PROMPT, MORE.rstrip())):
                    seen += [line, *console.type(line[len(PROMPT) :])]
            return seen, console.leave()
        finally:
            server.kill()


def _here(line, ns):
    """A command of README with our interpreter and namespace."""
    programs = {"scapystack": f"{sys.executable} -m scapystack", "python": sys.executable}
    line = re.sub(r"\.venv/bin/(\w+)", lambda found: programs[found[1]], line)
    return re.sub(r"\blab\b", ns.name, line)


def _until_it_listens(ns):
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            ns.connect(80, "127.0.0.1").close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise TimeoutError("the web server does not listen")


def test_readme_session_typed_into_a_terminal_shows_what_is_written(netns, tmp_path):
    _, session = written()
    seen, status = typed(netns, tmp_path)
    assert len(session) > 40
    assert list(map(stable, seen)) == list(map(stable, session))
    assert status == 0


def main(home):
    ns = Namespace()
    try:
        _, session = written()
        seen, _ = typed(ns, home)
    finally:
        ns.close()
    text = README.read_text()
    README.write_text(text.replace("\n".join(session), "\n".join(seen)))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        main(Path(made))
