"""`replay`: every conversation of capture files against the stack, one verdict each.

`replay_each` gives the results as they come, in the order of the files and of the conversations in them, whatever
the number of processes; `replay` gathers them. A file that cannot be read is one result with its `error`, and the
others go on. Read `conversations` for how a capture is split and `tcp` for what is done with a conversation.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scapystack.base.datagram import PROTO_TCP
from scapystack.base.errors import ConfigError, LinkError, ScapystackError
from scapystack.link.pcapread import CaptureReader
from scapystack.replay.conversations import Conversation, Splitter
from scapystack.replay.datagrams import DatagramReplay
from scapystack.replay.settings import Terms
from scapystack.replay.stage import START
from scapystack.replay.tcp import TcpReplay
from scapystack.replay.transcript import Golden, Transcript
from scapystack.stack import NetStack

ROLES = ("server", "client", "auto", "both")
PASSED, FAILED, SKIPPED, ERROR = "passed", "failed", "skipped", "error"
GOLDEN = "golden"
"""The directory beside a capture where its golden transcripts are looked for."""
_AHEAD = 4
_WORTH_A_POOL = 1 << 20
"""Octets of captures from which on several processes pay."""

Progress = Callable[[str, int, int], None]
"""Told now and then: the file, how far it was read, and its octets."""
Watch = Callable[[NetStack], None]
"""Given the stack of a replay before anything happens to it."""


@dataclass
class Result:
    """What came of one conversation in one role, or of a file as a whole (`conversation` 0: its `error`).

    `verdict` is `passed`, `failed`, `skipped` or `error`; `reason` why it was skipped, or could not be tried;
    `findings` and `differences` (from the golden transcript) are lines for a person. `golden` is `equal`, `differs`,
    `written`, or empty where there is none. `sent` and `received` count the octets of both streams.
    """

    file: str
    conversation: int = 0
    role: str = ""
    title: str = ""
    verdict: str = PASSED
    reason: str = ""
    findings: list[str] = field(default_factory=list)
    golden: str = ""
    differences: list[str] = field(default_factory=list)
    packets: int = 0
    sent: int = 0
    received: int = 0
    state: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What to do with every conversation."""

    role: str = "auto"
    terms: Terms = field(default_factory=Terms)
    golden: str | None = None
    update: bool = False

    def roles(self, conversation: Conversation) -> list[str]:
        """The parts that the stack takes."""
        if self.role == "both":
            return ["server", "client"]
        if self.role != "auto":
            return [self.role]
        came, went = conversation.directions  # of the opener's packets
        return ["client" if went > came else "server"]

    def transcript(self, file: str, conversation: Conversation, role: str) -> Path | None:
        """The file of the golden transcript; None where nobody wants one."""
        beside = Path(file).parent / GOLDEN
        if self.golden is not None:
            where = Path(self.golden)
        elif self.update or beside.is_dir():
            where = beside
        else:
            return None
        return where / f"{Path(file).name}-{conversation.number}-{role}-{self.terms.profile}.txt"


@dataclass
class Case:
    """One conversation of a capture in one role: what a replay is made of. `reader` must be open when it runs."""

    file: str
    reader: CaptureReader
    conversation: Conversation
    role: str
    plan: Plan

    @property
    def why_not(self) -> str:
        """Why it cannot be replayed; "" if it can."""
        return self.conversation.why_not(self.role == "client")

    def run(self, *, watch: Watch | None = None, lines: list[str] | None = None) -> Result:
        """Replay it; the same every time. `lines` gets every line of the transcript.

        Raises ConfigError for a golden transcript that is none, LinkError where the file has changed.
        """
        conversation, role, plan = self.conversation, self.role, self.plan
        name = Path(self.file).name
        result = Result(self.file, conversation.number, role, conversation.title)
        if why_not := self.why_not:
            result.verdict, result.reason = SKIPPED, why_not
            return result
        path = plan.transcript(self.file, conversation, role)
        title = f"{name} conversation {conversation.number}, {role}, {plan.terms.profile}: {conversation.title}"
        golden = None if path is None else Golden(path, title, update=plan.update)
        transcript = Transcript(START, golden, lines)
        kind = TcpReplay if conversation.proto == PROTO_TCP else DatagramReplay
        played = kind(conversation, self.reader, role == "client", plan.terms, transcript)
        if watch is not None:
            watch(played.stage.stack)
        try:
            played.run()
        except BaseException:
            if golden is not None:
                golden.abandon()
            raise
        result.findings = played.findings.told()
        result.packets = transcript.packets
        result.sent, result.received = played.counts
        result.state = played.state
        result.seconds = (played.stage.now - START) / 1e9
        if golden is not None:
            golden.close(transcript.recent, keep=not result.findings)
            result.differences = golden.told
            if plan.update:
                result.golden = "" if result.findings else "written"
            elif golden.exists:
                result.golden = "differs" if golden.told else "equal"
        if result.findings or result.differences:
            result.verdict = FAILED
        return result


def cases(reader: CaptureReader, plan: Plan, progress: Progress | None = None) -> Iterator[Case]:
    """What is to be replayed of a capture, as it is read. Raises LinkError for what is wrong with it, or its end."""
    name = reader.name
    splitter = Splitter(reader)
    for conversation in splitter:
        if progress is not None:
            progress(name, reader.position, reader.octets)
        for role in plan.roles(conversation):
            yield Case(name, reader, conversation, role, plan)
    if reader.torn:
        raise LinkError(f"{name} incomplete: {reader.torn}")
    if not splitter.conversations:
        left_out = ", ".join(f"{what}: {n}" for what, n in sorted(splitter.left_out.items())) or "no packets"
        raise LinkError(f"{name} there is no conversation in it ({left_out})")


def trouble(name: str, error: OSError | ScapystackError) -> str:
    """Why a file cannot be read (to its end), without its name."""
    if isinstance(error, OSError):
        other = f"{error.filename}: " if error.filename and str(error.filename) != name else ""  # a golden transcript
        return other + (error.strerror or str(error))
    return str(error).removeprefix(f"{name} ")


def replay(
    *paths: str | Path,
    role: str = "auto",
    profile: str = "linux",
    timed: bool = False,
    golden: str | Path | None = None,
    update_golden: bool = False,
    jobs: int = 1,
    seed: int = 0,
    overrides: Mapping[str, str] | None = None,
) -> list[Result]:
    """Replay every conversation of these captures; a `Result` each.

    `role` is the part of the stack: `server` (who was called), `client`, `both`, one after the other, or `auto`: the
    part of the host that has captured, where the capture tells, else the server. `timed` sends the peer's packets at
    the recorded times; otherwise each waits for what it answers. `golden` is the directory of golden transcripts
    (None: `golden` beside each capture, if there is one), which `update_golden` writes anew. `overrides` are settings
    (`{"tcp.sack": "off"}`) that go above what the recording shows. Raises ConfigError for an argument that cannot be.
    """
    plan = planned(role, profile, timed, golden, update_golden, seed, overrides or {})
    return list(replay_each(paths, plan, jobs))


def planned(
    role: str,
    profile: str,
    timed: bool,
    golden: str | Path | None,
    update: bool,
    seed: int,
    overrides: Mapping[str, str],
) -> Plan:
    """The plan, its arguments looked at. Raises ConfigError."""
    if role not in ROLES:
        raise ConfigError(f"no role named {role!r}; one of: {', '.join(ROLES)}")
    terms = Terms(profile, timed, seed, dict(overrides))
    terms.config()
    if golden is not None and not update and not Path(golden).is_dir():
        raise ConfigError(f"{golden} is no directory of golden transcripts (--update-golden makes it)")
    return Plan(role, terms, None if golden is None else str(golden), update)


def replay_each(
    paths: Iterable[str | Path], plan: Plan, jobs: int = 1, progress: Progress | None = None
) -> Iterator[Result]:
    """The results one by one. `jobs` processes work (0: one for each processor, where the files are large enough)."""
    names = [str(path) for path in paths]
    jobs = jobs or _worth(names)
    if jobs == 1:
        for name in names:
            yield from _file(name, plan, lambda case: [_one(case)], progress)
        return
    with ProcessPoolExecutor(jobs, get_context("fork"), _Worker.begin) as pool:
        try:
            yield from _shared(names, plan, jobs, pool, progress)
        except BaseException:  # Ctrl-C, or nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _shared(
    names: list[str], plan: Plan, jobs: int, pool: ProcessPoolExecutor, progress: Progress | None
) -> Iterator[Result]:
    """The results of all files, from the processes of the pool."""
    for name in names:
        queue: deque[Future[Result]] = deque()

        def take(case: Case, queue: deque[Future[Result]] = queue) -> list[Result]:
            queue.append(_Worker.submit(pool, case))
            return [queue.popleft().result()] if len(queue) > _AHEAD * jobs else []

        yield from _file(name, plan, take, progress, lambda queue=queue: [each.result() for each in queue])  # type: ignore[misc]


class _Worker:
    """A process of the pool. Ctrl-C at a terminal reaches it as it does the one that prints: it ends silently, what
    it works on is given up, and what it is still asked for as well. (It is not torn out of reading the pool's pipe,
    which others go on reading.)
    """

    busy = False
    ended = False

    @classmethod
    def submit(cls, pool: ProcessPoolExecutor, case: Case) -> Future[Result]:
        """Have a conversation replayed; processes that this makes hear no Ctrl-C before they are ready for it."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            return pool.submit(cls.one, case)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @classmethod
    def begin(cls) -> None:
        """Called once in each."""
        signal.signal(signal.SIGINT, cls._end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))

    @classmethod
    def _end(cls, number: int, frame: object) -> None:
        cls.ended = True
        if cls.busy:
            raise SystemExit(128 + number)

    @classmethod
    def one(cls, case: Case) -> Result:
        """A conversation."""
        cls.busy = True
        try:
            if cls.ended:
                raise SystemExit(128 + signal.SIGINT)
            return _one(case)
        finally:
            cls.busy = False


def _worth(names: list[str]) -> int:
    octets = sum(os.path.getsize(name) for name in names if os.path.isfile(name))
    return (os.cpu_count() or 1) if octets >= _WORTH_A_POOL else 1


def _file(
    name: str,
    plan: Plan,
    take: Callable[[Case], list[Result]],
    progress: Progress | None,
    rest: Callable[[], list[Result]] = list,
) -> Iterator[Result]:
    """The results of one file; `take` does a case, now or later, and `rest` gives what is still to come."""
    try:
        with CaptureReader(name) as reader:
            for case in cases(reader, plan, progress):
                yield from take(case)
            yield from rest()
    except (OSError, ScapystackError) as error:
        yield from rest()
        yield Result(name, verdict=ERROR, reason=trouble(name, error))


def _one(case: Case) -> Result:
    """Replay one conversation; what hinders that is its own error, and the others go on."""
    try:
        return case.run()
    except (OSError, ScapystackError) as error:
        known = (case.file, case.conversation.number, case.role, case.conversation.title)
        return Result(*known, ERROR, trouble(case.file, error))
