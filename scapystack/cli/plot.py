"""`scapystack plot`: pictures of a conversation. The work is done in `scapystack.plot`."""

from __future__ import annotations

from pathlib import Path

import click

from scapystack.base.errors import ConfigError

KINDS = ("sequence", "window", "rtt", "throughput", "ladder", "state")
SIDES = ("client", "server")
_PICTURES = (".png", ".svg")


@click.command("plot")
@click.argument("file", metavar="FILE")
@click.option("-o", "output", metavar="OUT", help="Write it here, .png or .svg (a ladder also .txt); else a window.")
@click.option("--kind", type=click.Choice(KINDS), default="sequence", help="What to draw (sequence).")
@click.option("--conversation", type=click.IntRange(1), metavar="N", help="Which one (the longest of TCP).")
@click.option("--side", type=click.Choice(SIDES), help="Whose text (who sent more; of states both).")
@click.option("--most", type=click.IntRange(1, 100_000), default=200, metavar="N", help="A ladder's segments (200).")
@click.option("--dark", is_flag=True, help="On a black ground, as xplot has it.")
@click.option("--list", "only_list", is_flag=True, help="List the conversations instead.")
def command(
    file: str,
    output: str | None,
    kind: str,
    conversation: int | None,
    side: str | None,
    most: int,
    dark: bool,
    only_list: bool,
) -> int:
    """Draw a TCP conversation of FILE: a capture (pcap, pcapng, gzip), or a trace (scapystack run --trace).

    A ladder without -o is printed as text. Pictures need matplotlib: pip install 'scapystack[plot]'.
    """
    suffix = Path(output).suffix.lower() if output else ""
    as_text = kind == "ladder" and suffix in ("", ".txt")
    if suffix == ".txt" and not as_text:
        raise ConfigError(f"{output}: only a ladder is text; a picture's name ends in .png or .svg")
    if output and not as_text and suffix not in _PICTURES:
        raise ConfigError(f"{output}: a picture's name ends in .png or .svg")
    from scapystack.plot import conversations, ladder_text, plot, save, show  # noqa: PLC0415

    if only_list:
        for found in conversations(file):
            click.echo(f"{found.number:4} {found.title}: {found.packets} packets")
        return 0
    if as_text:
        lines = ladder_text(file, conversation, most=most)
        if output:
            Path(output).write_text(lines + "\n", encoding="utf-8")
        else:
            click.echo(lines)
        return 0
    picture = plot(file, kind, conversation=conversation, side=side, dark=dark, most=most)
    if output:
        save(picture, output)
    else:
        show(picture)
    return 0
