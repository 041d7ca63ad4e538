"""`scapystack repl`: Scapy's console with handles on the connections of a stack that runs behind it.

The stack runs in a thread of its own, so it goes on while the prompt waits. docs/repl.md is a session.
"""

from __future__ import annotations

from typing import Any

import click

from scapystack.cli.options import link_options, opened, recording_options


@click.command("repl")
@link_options
@recording_options
@click.option("-c", "code", metavar="CODE", help="Run this Python in place of a console, and end.")
def command(code: str | None, **link: Any) -> int:
    """Scapy's console, IPython's where that is installed, beside a running stack.

    It has Scapy's names and ours: stack, iface, conns(), explain(), fork(), ...; lsc() lists them. Scapy's sr1(),
    sniff() and so on go through the stack.
    """
    with opened(link, scapy_routes=True) as stack:
        import scapystack.all as names  # noqa: PLC0415 - all of Scapy, a second
        from scapystack.repl.console import Console  # noqa: PLC0415

        with Console(stack, vars(names)) as console:
            if code is None:
                console.interact()
                return 0
            return console.run(code)
