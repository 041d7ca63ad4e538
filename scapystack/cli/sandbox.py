"""A network namespace without a name, for the demo and the doctor: nobody sees it, and it is gone with
this process, however that ends.

An ordinary user may have one too where the kernel lets them make user namespaces (`become_root`).
`python -m scapystack.cli.sandbox [--user]` tries it all in a process of its own. Read `link.netns`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from typing import Any

from scapystack.base.errors import LinkError
from scapystack.link.netns import in_namespace
from scapystack.link.tap import TapLink

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PROBE_S = 20


class Sandbox:
    """A namespace that lives as long as this object. `path` names it wherever a namespace is named."""

    def __init__(self) -> None:
        """Raises LinkError without the right to make one."""
        self._fd = in_namespace(None, _new_namespace)
        self.path = f"/proc/self/fd/{self._fd}"

    def popen(self, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program inside. A child has the namespace of the thread that starts it."""
        return in_namespace(self.path, lambda: subprocess.Popen(words, **options))

    def close(self) -> None:
        """Let go of it; the kernel takes it down with the last program inside."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _new_namespace() -> int:
    """Move this thread into a new network namespace; a descriptor of it."""
    _unshare(_CLONE_NEWNET, "network namespaces take root (CAP_SYS_ADMIN)")
    path = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _unshare(flags: int, refused: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise LinkError(refused if number == 1 else f"unshare: {os.strerror(number)}")


def become_root() -> None:
    """Make this process root of a user namespace of its own: files stay its user's.

    Only while it has one thread. Raises LinkError where the kernel does not let this user.
    """
    uid, gid = os.geteuid(), os.getegid()
    _unshare(_CLONE_NEWUSER, "this user may not make user namespaces")
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError as error:
        raise LinkError(f"this user may not map themselves to root: {error.strerror}") from None


def try_tap() -> int:
    """Make a TAP in a sandbox for a moment: the offload granted (`TUN_F_*`). Raises LinkError."""
    for arguments in ([], ["--user"]):
        told = _probe(arguments)
        if told.isdecimal():
            return int(told)
    raise LinkError(told)


def user_namespace_works() -> bool:
    """Whether this process, whatever its rights, could be root of a namespace of its own, with a TAP."""
    return _probe(["--user"]).isdecimal()


def _probe(arguments: list[str]) -> str:
    """What the trial said: the offload granted as a number, or why it failed."""
    words = [sys.executable, "-m", "scapystack.cli.sandbox", *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2] or "no answer"


def _trial(arguments: list[str]) -> str:
    try:
        if "--user" in arguments:
            become_root()
        with Sandbox() as sandbox:
            link = TapLink("trial", netns=sandbox.path)
            link.close()
            return str(link.offload)
    except LinkError as error:
        return str(error)


if __name__ == "__main__":
    print(_trial(sys.argv[1:]))
