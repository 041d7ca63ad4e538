"""`set` and `sysctl`: every setting of the stack, shown and changed while it runs.

The layers read the configuration live, so a change holds from the next packet on; what a connection copied
when it was opened (buffers, congestion control, keep-alive) holds for those opened from now on.
"""

from __future__ import annotations

import click

from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.layers.tcp.congestion import make
from scapystack.shell.session import Session

_LISTS = "set alone lists them"


@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[NAME [VALUE] | NAME=VALUE ...]")
@click.pass_obj
def set_command(session: Session, words: tuple[str, ...]) -> None:
    """Show all settings, or those that begin with NAME; give one a VALUE. docs/config.md explains each.

    \b
      set tcp                          set tcp.congestion
      set tcp.congestion reno          set tcp.min_rto_ms=300 ip.forward=on
    """
    if len(words) == 2 and "=" not in words[0] and "=" not in words[1]:
        words = (f"{words[0]}={words[1]}",)
    if any("=" in word for word in words):
        _change(session, words)
        return
    _show(session, words)


@click.command("sysctl")
@click.option("-a", "every", is_flag=True, help="All of them.")
@click.option("-w", "write", is_flag=True, help="Change (NAME=VALUE does so in any case).")
@click.option("-n", "bare", is_flag=True, help="Values without their names.")
@click.argument("words", nargs=-1, metavar="NAME[=VALUE] ...")
@click.pass_obj
def sysctl_command(session: Session, every: bool, write: bool, bare: bool, words: tuple[str, ...]) -> None:
    """Show and change settings in the words of sysctl(8): `sysctl -a`, `sysctl -w ip.forward=1`."""
    if not words and not every:
        raise click.UsageError("name a setting, or all of them with -a")
    changes = tuple(word for word in words if "=" in word)
    if write and len(changes) < len(words):
        raise click.UsageError("-w takes NAME=VALUE")
    if changes:
        _change(session, changes)
    asked = tuple(word.partition("=")[0].strip() for word in words)
    _show(session, () if every else asked, bare=bare)


def values_of(config: StackConfig) -> dict[str, object]:
    """Every setting by its name."""
    found = {}
    for name in config.names():
        group, _, setting = name.partition(".")
        found[name] = getattr(getattr(config, group), setting)
    return found


def text_of(value: object) -> str:
    """A value as `set` takes it."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def _show(session: Session, asked: tuple[str, ...], *, bare: bool = False) -> None:
    values = values_of(session.driver.stack.config)
    chosen = [n for n in values if not asked or any(n == a or n.startswith(f"{a.rstrip('.')}.") for a in asked)]
    for name in asked:
        if not any(each == name or each.startswith(f"{name.rstrip('.')}.") for each in chosen):
            raise session.driver.stack.config.unknown(name, _LISTS)
    lines = (text_of(values[name]) if bare else f"{name} = {text_of(values[name])}" for name in chosen)
    session.out.show({name: values[name] for name in chosen}, lines)


def _change(session: Session, words: tuple[str, ...]) -> None:
    """All of them or none. Raises ConfigError."""
    with session.net() as net:
        config = net.config
        before = values_of(config)
        try:
            for word in words:
                name, equals, value = (part.strip() for part in word.partition("="))
                if not equals:
                    raise ConfigError(f"NAME=VALUE was expected, not {word!r}")
                if name not in before:
                    raise config.unknown(name, _LISTS)
                config.set(name, value)
            make(config.tcp.congestion)
            config.check()
        except ConfigError:
            for name, old in before.items():
                group, _, setting = name.partition(".")
                setattr(getattr(config, group), setting, old)
            raise
