"""Every number of TcpConfig at its least and at its most: what it allows must work, however badly."""

from __future__ import annotations

from dataclasses import fields

import pytest

from scapystack.base.config import OFF_WITH_0, PROFILES, TcpConfig, limits
from tests.harness.tcp_pair import Pair

REFUSES = {("max_orphans", 0), ("ephemeral_low", 65_535), ("ephemeral_high", 1)}
"""Resets what is closed with work left, as it says; `StackConfig.check` refuses a range without ports."""


def extremes() -> list[tuple[str, int]]:
    cases: list[tuple[str, int]] = []
    for field in fields(TcpConfig):
        value = getattr(TcpConfig(), field.name)
        if isinstance(value, bool):
            cases.append((field.name, not value))
        elif isinstance(value, int):
            name = f"tcp.{field.name}"
            cases += [(field.name, n) for n in {*limits(name), *([0] if name in OFF_WITH_0 else [])}]
    return [case for case in cases if case not in REFUSES]


@pytest.mark.parametrize(("name", "value"), extremes())
def test_setting_at_an_extreme_still_carries_data_both_ways(name: str, value: int) -> None:
    """One loss on the way, so that timers run too; a day of virtual time is allowed."""
    pair = Pair(a={name: value}, b={name: value}, drop=lambda number, _: number == 7, mtu=9000)
    small = name in ("rcvbuf", "sndbuf", "mss")
    pair.transfer(*(300, 200) if small else (30_000, 20_000), limit_s=86_400)


@pytest.mark.parametrize("a", PROFILES)
@pytest.mark.parametrize("b", PROFILES)
def test_profiles_talk_to_each_other_over_loss(a: str, b: str) -> None:
    numbers = [{f.name: getattr(PROFILES[name](), f.name) for f in fields(TcpConfig)} for name in (a, b)]
    pair = Pair(a=numbers[0], b=numbers[1], loss=0.03, seed=3)
    pair.transfer(200_000, 100_000)
