"""A shell on a stack at 10.0.0.1, in virtual time; another stack (10.0.0.2) is 10 ms away."""

import json

import pytest

from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.shell.session import Session
from scapystack.sockets.facade import Stack
from scapystack.sockets.services import start_services

DELAY = 10_000_000


class Shell:
    """A session whose output is text, and the world around it."""

    def __init__(self, simulation, stack, other):
        self.simulation, self.stack, self.other = simulation, stack, other
        self.said = {"out": [], "err": []}
        self.session = Session(
            stack.driver, lambda way, octets: self.said[way].append(octets), simulation=simulation, cwd="/nonexistent"
        )

    def run(self, line):
        """Run it; the status, and what was said on either way."""
        for said in self.said.values():
            said.clear()
        status = self.session.execute(line)
        return status, self.out, self.err

    @property
    def out(self):
        return b"".join(self.said["out"]).decode(errors="replace")

    @property
    def err(self):
        return b"".join(self.said["err"]).decode()

    def ok(self, line):
        """Its output; it must end with 0 and without a word beside it."""
        status, out, err = self.run(line)
        assert (status, err) == (0, ""), (line, out)
        return out

    def bad(self, line, status=2):
        """The one line about what was wrong."""
        told, out, err = self.run(line)
        assert (told, out) == (status, ""), (line, err)
        assert err.count("\n") == 1
        return err

    def json(self, line):
        return json.loads(self.ok(f"{line} --json"))

    def at(self, ms, call):
        """Have it called so much later, as a program of its own."""
        self.simulation.at(self.simulation.now + ms * 1_000_000, lambda: self.simulation.start(call, "later"))

    def interrupt_after(self, ms):
        """Ctrl-C, so much later."""
        self.simulation.at(self.simulation.now + ms * 1_000_000, self.session.interrupt)


@pytest.fixture
def shell():
    simulation = Simulation()
    a, b = MemoryLink.pair(delay=DELAY)
    one = Stack("10.0.0.1/24", link=a, simulation=simulation, seed=1)
    two = Stack("10.0.0.2/24", link=b, simulation=simulation, seed=2)
    made = Shell(simulation, one, two)
    with one, two:
        yield made
        made.session.close()
    simulation.close()


@pytest.fixture
def services(shell):
    """echo, discard, source, daytime on the other stack and on ours."""
    made = start_services(shell.other, "echo,discard,source,daytime")
    yield made
    for each in made:
        each.close()
