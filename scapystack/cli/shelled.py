"""`scapystack run` with a prompt: the stack in a thread of its own, the shell in this one.

The shell is a client of the stack as any that attaches, over a pair of sockets: one way for both.
"""

from __future__ import annotations

import gc
import signal
import socket
from typing import TYPE_CHECKING

from scapystack.base.errors import LinkError
from scapystack.runtime.signals import ENDING
from scapystack.shell import prompt
from scapystack.shell.client import Client
from scapystack.shell.control import ControlServer

if TYPE_CHECKING:
    from scapystack.link.base import Link
    from scapystack.sockets import Stack


def run_shell(stack: Stack, name: str, commands: tuple[str, ...] = ()) -> tuple[int, bool]:
    """Run the stack and a prompt, or these commands, until it is left or a signal or a lost link ends it.

    The status of the last command, which is 0 for a prompt that was left, and whether a link was lost.
    """
    theirs, ours = socket.socketpair()
    lost: list[str] = []

    def on_lost(link: Link) -> None:
        lost.append(link.name)
        theirs.shutdown(socket.SHUT_RDWR)

    stack.driver.on_lost = on_lost
    server = ControlServer(stack.driver, "", name=name)
    # what was made until now stays: the collector need not look at it again
    gc.collect()
    gc.freeze()
    stack.start()
    try:
        server.serve(theirs)
        with Client(ours) as client:
            if commands:
                return prompt.lines(client, commands), bool(lost)
            prompt.interactive(client)
    except LinkError:
        if not lost:
            raise
    except SystemExit as end:
        if end.code not in [128 + number for number in ENDING]:
            raise
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
    finally:
        server.close()
    return 0, bool(lost)
