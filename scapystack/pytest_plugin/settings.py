"""The options of the command line and of the ini file, and what they say together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scapystack.replay.run import Plan


def add_options(parser: pytest.Parser) -> None:
    """All of them."""
    group = parser.getgroup("scapystack", "scapystack: simulated networks, scripted peers, captures as tests")
    group.addoption(
        "--scapystack-seed",
        type=int,
        default=0,
        metavar="N",
        help="the seed of networks, scripted peers and replays (0); a failure says with which one it came",
    )
    group.addoption(
        "--update-golden", action="store_true", help="write the golden transcripts of the captures that are tests anew"
    )
    group.addoption("--keep-captures", action="store_true", help="write annotated captures of tests that pass, too")
    parser.addini("scapystack_pcaps", "folders whose captures are tests", type="paths", default=[])
    parser.addini("scapystack_role", "the stack's part in captures: both, server, client or auto", default="both")
    parser.addini("scapystack_profile", "the profile of the stack in captures: linux or rfc", default="linux")
    parser.addini("scapystack_golden", "the folder of golden transcripts (golden/ beside each capture)", default="")
    parser.addini("scapystack_set", "settings of the stack in captures, NAME=VALUE a line", type="linelist", default=[])
    parser.addini(
        "scapystack_captures", "the folder for annotated captures of tests that fail", default="scapystack-captures"
    )
    parser.addini(
        "scapystack_annotate", "note what becomes of each packet, for these captures", type="bool", default=True
    )


def seed(config: pytest.Config) -> int:
    """What `--scapystack-seed` says."""
    return int(config.getoption("--scapystack-seed"))


def folders(config: pytest.Config) -> list[Path]:
    """Where captures are tests."""
    return [Path(folder) for folder in config.getini("scapystack_pcaps")]


def output(config: pytest.Config) -> Path:
    """Where annotated captures go."""
    return config.rootpath / str(config.getini("scapystack_captures"))


def plan(config: pytest.Config) -> Plan:
    """What to do with every conversation of a capture. Raises ConfigError for a setting that cannot be."""
    from scapystack.base.errors import ConfigError  # noqa: PLC0415
    from scapystack.replay.run import planned  # noqa: PLC0415

    overrides = {}
    for line in config.getini("scapystack_set"):
        name, equals, value = line.partition("=")
        if not equals:
            raise ConfigError(f"scapystack_set takes NAME=VALUE, not {line!r}")
        overrides[name.strip()] = value.strip()
    golden = str(config.getini("scapystack_golden"))
    return planned(
        str(config.getini("scapystack_role")),
        str(config.getini("scapystack_profile")),
        timed=False,
        golden=config.rootpath / golden if golden else None,
        update=bool(config.getoption("--update-golden")),
        seed=seed(config),
        overrides=overrides,
    )
