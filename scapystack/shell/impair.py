"""`impair`: a link of the running stack loses, delays, reorders, repeats, damages or slows down what passes.

The first time the running link is put inside an `ImpairedLink`, in its driver, between two rounds; `off` takes
it out again, and lets go what waited there.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import click

from scapystack.base.errors import ConfigError
from scapystack.base.iface import Interface
from scapystack.link.base import Link
from scapystack.link.impair import ImpairedLink, Impairment
from scapystack.shell.session import Session
from scapystack.stack import NetStack

_CHANCES = ("loss", "duplicate", "reorder", "corrupt", "mark")
_SPANS = {"delay": "delay_ms", "jitter": "jitter_ms", "queue": "queue_ms"}
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_RATES = {"kbit": 125, "mbit": 125_000, "gbit": 125_000_000, "bit": 0.125, "kbps": 1_000, "mbps": 1_000_000, "bps": 1}
_PLAIN = Impairment()
_SHOWN = (*_CHANCES, "burst", *_SPANS.values(), "rate")


@click.command("impair", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[IFACE] [in|out] [WHAT VALUE ...] [off]")
@click.pass_obj
def impair_command(session: Session, words: tuple[str, ...]) -> None:
    """Show what links do to frames, or set it, while they run; on both ways unless one is named.

    \b
      impair tap0 loss 1% delay 20ms        impair tap0 in reorder 5% duplicate 0.1%
      impair tap0 out rate 10mbit queue 50ms
      impair tap0 loss 0                    impair tap0 off

    loss, duplicate, reorder, corrupt and mark (CE) take a chance (5% or 0.05), burst how many are lost in a row,
    delay, jitter and queue a time, rate bits a second (kbit, mbit, gbit) or octets (kbps, mbps).
    """
    left = list(words)
    with session.net() as net:
        if not left:
            _show(session, net, list(net.interfaces))
            return
        iface = session.iface(left.pop(0))
        if not left:
            _show(session, net, [iface])
            return
        link = session.driver.links.get(iface.index)
        if link is None:
            raise ConfigError(f"{iface.name} is no link that could be impaired")
        ways: tuple[str, ...] = ("rx", "tx")
        if left[0] in ("in", "out"):
            ways = ("rx",) if left.pop(0) == "in" else ("tx",)
        if left == ["off"]:
            _off(session, net, link, ways)
            return
        changes = _changes(left)
        impaired = link if isinstance(link, ImpairedLink) else None
        for way in ways:  # first all that may be wrong
            replace(getattr(impaired, way) if impaired is not None else _PLAIN, **changes)
        if impaired is None:
            impaired = ImpairedLink(link, seed=net.core.rng.derive("impair").bytes(16))
            session.driver.exchange(link, impaired)
        for way in ways:
            for name, value in changes.items():
                setattr(getattr(impaired, way), name, value)


def _changes(words: list[str]) -> dict[str, Any]:
    """Names and values. Raises ConfigError."""
    if len(words) % 2 or not words:
        raise click.UsageError(f"{words[-1]!r} lacks its value" if words else "say what to do")
    changes: dict[str, Any] = {}
    for name, text in zip(words[::2], words[1::2], strict=True):
        if name in _CHANCES:
            percent = text.endswith("%")
            changes[name] = _number(name, text.removesuffix("%"), "5% or 0.05") / (100 if percent else 1)
        elif name in _SPANS:
            unit = next((each for each in ("us", "ms", "s") if text.endswith(each)), "")
            span = _number(name, text.removesuffix(unit), "20ms")
            changes[_SPANS[name]] = span * _UNITS.get(unit, 1.0)
        elif name == "rate":
            unit = next((each for each in _RATES if text.lower().endswith(each)), "")
            if not unit and text != "0":
                raise ConfigError(f"rate is such as 10mbit or 500kbps, not {text!r}")
            changes["rate"] = round(_number(name, text.lower().removesuffix(unit), "10mbit") * _RATES.get(unit, 1))
        elif name == "burst":
            changes["burst"] = _number(name, text, "3")
        else:
            known = ", ".join((*_CHANCES, "burst", *_SPANS, "rate"))
            raise click.UsageError(f"what is {name!r}? one of {known}, or off")
    return changes


def _number(name: str, text: str, such_as: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise ConfigError(f"{name} is such as {such_as}, not {text!r}")
    return value


def _off(session: Session, net: NetStack, link: Link, ways: tuple[str, ...]) -> None:
    if not isinstance(link, ImpairedLink):
        return
    for way in ways:
        impairment = getattr(link, way)
        for each in fields(_PLAIN):
            if each.name not in ("lost", "marked", "rules"):
                setattr(impairment, each.name, getattr(_PLAIN, each.name))
        impairment.rules.clear()
    if any(_set(getattr(link, way)) for way in ("rx", "tx")):
        return
    session.driver.exchange(link, link.inner)
    for frame in link.release():
        net.receive(frame, net.core.now)


def _set(impairment: Impairment) -> dict[str, Any]:
    """What of it is not as it would be without."""
    return {name: value for name in _SHOWN if (value := getattr(impairment, name)) != getattr(_PLAIN, name)} | (
        {"rules": len(impairment.rules)} if impairment.rules else {}
    )


def _show(session: Session, net: NetStack, chosen: list[Interface]) -> None:
    data = []
    for iface in chosen:
        link = session.driver.links.get(iface.index)
        for way in ("rx", "tx") if isinstance(link, ImpairedLink) else ():
            impairment = getattr(link, way)
            data.append(
                {"iface": iface.name, "way": "in" if way == "rx" else "out", "set": _set(impairment),
                 "lost": impairment.lost, "marked": impairment.marked}
            )  # fmt: skip
    lines = [
        f"{d['iface']} {d['way']:<3} {_words(d['set'])}; lost {d['lost']}, marked {d['marked']} frames" for d in data
    ]
    session.out.show(data, lines or ["no link is impaired"])


def _words(values: dict[str, Any]) -> str:
    words = []
    for name, value in values.items():
        if name in _CHANCES:
            words.append(f"{name} {value * 100:g}%")
        elif name.endswith("_ms"):
            words.append(f"{name.removesuffix('_ms')} {value:g}ms")
        elif name == "rate":
            words.append(f"rate {value * 8 / 1e6:g}mbit")
        else:
            words.append(f"{name} {value:g}")
    return " ".join(words) or "nothing"
