"""Scapy's names and ours, for a prompt, a script or a notebook: `from scapystack.all import *` (docs/repl.md).

`Stack` is the one with handles (`repl.live`). `explain` and `conns` ask the stack that was started last, or the one
that `use(stack)` names.
"""

# ruff: noqa: F401, F403

from scapy.all import *

from scapystack.base.config import StackConfig
from scapystack.hooks import DROP, Delay
from scapystack.repl.connection import Conn
from scapystack.repl.errors import tb
from scapystack.repl.explanation import Explanation
from scapystack.repl.fork import Fork, fork
from scapystack.repl.live import Listener, Stack
from scapystack.repl.session import conns, explain, ls, lsc
from scapystack.repl.which import use
