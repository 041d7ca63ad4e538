"""The pytest plugin: networks, scripted peers and real kernels as fixtures, captures as tests; the seed, the
transcript and an annotated capture in the report of a failure.

    def test_hello(scripted_peer):
        scripted_peer.listen(80)
        scripted_peer.connect(80)

Loading it costs next to nothing: the stack and Scapy are imported by the first test that asks for a fixture, or the
first capture. `fixtures` and `captures` make the tests, `report` tells of them; `docs/pytest.md` is the guide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scapystack.pytest_plugin import report, settings
from scapystack.pytest_plugin.fixtures import kernel_peer, network, scapystack_seed, scripted_peer, stack_pair
from scapystack.pytest_plugin.rights import need_tap

__all__ = ["kernel_peer", "network", "scapystack_seed", "scripted_peer", "stack_pair"]

_SUFFIXES = (".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz")
_PLAN = pytest.StashKey[Any]()
"""What to do with captures: a `scapystack.replay.run.Plan`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """See `settings`."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and have a plain `pytest` look where captures are, whatever `testpaths` says."""
    config.addinivalue_line(
        "markers", "needs_tap: needs /dev/net/tun and the right to make TAPs and namespaces (else it skips)"
    )
    if config.args_source == pytest.Config.ArgsSource.TESTPATHS:
        known = [Path(argument).absolute() for argument in config.args]
        for folder in settings.folders(config):
            if not any(folder.is_relative_to(path) for path in known):
                config.args.append(str(folder))


def pytest_sessionstart(session: pytest.Session) -> None:
    """What the ini file says of captures must make sense."""
    folders = settings.folders(session.config)
    if not folders:
        return
    from scapystack.base.errors import ConfigError  # noqa: PLC0415

    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise pytest.UsageError(f"scapystack_pcaps: there is no folder {missing}")
    try:
        session.config.stash[_PLAN] = settings.plan(session.config)
    except ConfigError as error:
        raise pytest.UsageError(f"scapystack: {error}") from None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A capture under a folder of `scapystack_pcaps` is a collector of tests."""
    if not file_path.name.endswith(_SUFFIXES):
        return None
    config = parent.config
    if settings.output(config) in file_path.parents:
        return None
    if not any(folder in file_path.parents for folder in settings.folders(config)):
        return None
    from scapystack.pytest_plugin.captures import collected  # noqa: PLC0415

    return collected(file_path, parent, config.stash[_PLAN])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`needs_tap`."""
    if item.get_closest_marker("needs_tap"):
        need_tap()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add what the fixtures know to the report of a failure."""
    made: pytest.TestReport = yield
    report.complete(item, made)
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was written, and where."""
    for line in report.summary([each for reports in terminalreporter.stats.values() for each in reports]):
        terminalreporter.write_line(line)
