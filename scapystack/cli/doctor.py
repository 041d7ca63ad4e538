"""`scapystack doctor`: can this machine run a stack, and what to do about what is missing.

Each check is a function that answers a `Finding`; the ones about the kernel try the thing itself, in a
namespace that nobody sees and that is gone afterwards.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import click

from scapystack.base.errors import LinkError
from scapystack.cli import sandbox
from scapystack.cli.output import console

GOOD, WARN, BAD = "good", "note", "missing"
_STYLE = {GOOD: "green", WARN: "yellow", BAD: "bold red"}
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
CLIENTS = {
    "ping": "iputils-ping",
    "nc": "netcat-openbsd",
    "curl": "curl",
    "tcpdump": "tcpdump",
    "ip": "iproute2",
    "iperf3": "iperf3",
    "nft": "nftables",
    "arping": "iputils-arping",
    "traceroute": "traceroute",
    "ethtool": "ethtool",
}
"""Programs that the demo and the interop tests use, and the Debian packages they come in."""


@dataclass(slots=True)
class Finding:
    """What one check found. `advice` says what to do about it; empty where nothing needs doing."""

    what: str
    verdict: str
    text: str
    advice: str = ""


@click.command("doctor")
def command() -> int:
    """Can this machine run a stack? What is missing, and how to get it.

    The exit status is 1 if a stack cannot run on a TAP here; what is only a note stops nothing.
    """
    findings = [finding for check in CHECKS for finding in check()]
    show(findings)
    return 1 if any(finding.verdict == BAD for finding in findings) else 0


def show(findings: list[Finding]) -> None:
    """Print findings as lines, advice under each."""
    out = console()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        out.print(f"[{_STYLE[finding.verdict]}]{finding.verdict:>7}[/]  {finding.what:<{width}}  ", end="")
        out.print(finding.text, markup=False)
        if finding.advice:
            out.print(f"{'':{width + 11}}{finding.advice}", markup=False)
    if any(finding.verdict == BAD for finding in findings):
        out.print("A stack cannot run on a TAP here yet. `scapystack demo` works all the same, over a memory link.")
    else:
        out.print("This machine can run a stack: try `scapystack demo`, then `scapystack run`.")


def python() -> Iterator[Finding]:
    """The interpreter's version, and the kernel's."""
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    text = f"{platform.python_version()} at {sys.executable}"
    yield Finding("Python", GOOD if good else BAD, text, "" if good else "3.11, 3.12 or 3.13 is needed")
    if platform.system() == "Linux":
        yield Finding("Linux", GOOD, platform.release())
    else:
        yield Finding("Linux", BAD, f"this is {platform.system()}", "TAP interfaces of this kind are Linux's own")


def packages() -> Iterator[Finding]:
    """The Python packages that a stack is made of."""
    for name in ("scapy", "pyroute2"):
        try:
            yield Finding(name, GOOD, version(name))
        except PackageNotFoundError:
            yield Finding(name, BAD, "not installed", f"pip install {name}")


def tun() -> Iterator[Finding]:
    """The device that TAPs come from."""
    path = "/dev/net/tun"
    try:
        found = os.stat(path)
    except OSError:
        advice = "sudo modprobe tun; in a container: docker run --device /dev/net/tun --cap-add NET_ADMIN ..."
        yield Finding(path, BAD, "is not there", advice)
        return
    if not stat.S_ISCHR(found.st_mode):
        yield Finding(path, BAD, "is not a device", "sudo rm it, then: sudo mknod /dev/net/tun c 10 200")
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        yield Finding(path, BAD, "may not be opened by you", "run as root (sudo), or: sudo chmod 666 /dev/net/tun")
    except OSError as error:
        yield Finding(path, BAD, f"cannot be opened: {error.strerror}", "sudo modprobe tun")
    else:
        yield Finding(path, GOOD, "can be opened")


def rights() -> Iterator[Finding]:
    """The capabilities that interfaces and namespaces take."""
    lacking = lacking_capabilities()
    if not lacking:
        yield Finding("rights", GOOD, "CAP_NET_ADMIN and CAP_SYS_ADMIN")
    elif sandbox.user_namespace_works():
        text = f"not {' and '.join(lacking)}, but this user may make namespaces of their own"
        yield Finding("rights", WARN, text, "enough for `scapystack demo`; `scapystack run` on this host needs sudo")
    elif "CAP_NET_ADMIN" in lacking:
        yield Finding("rights", BAD, f"not {' and '.join(lacking)}", "run as root: sudo scapystack ...")
    else:
        text = "CAP_NET_ADMIN, not CAP_SYS_ADMIN"
        yield Finding("rights", WARN, text, "`run` works; namespaces (`demo`, `--netns`) need CAP_SYS_ADMIN")


def lacking_capabilities() -> list[str]:
    """Those of the capabilities that interfaces and namespaces take which this process has not."""
    try:
        with open("/proc/self/status") as status:
            effective = int(next(line.split()[1] for line in status if line.startswith("CapEff:")), 16)
    except (OSError, StopIteration):
        effective = 0
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def tap() -> Iterator[Finding]:
    """A TAP made for a moment in a namespace of its own, and what the kernel grants on it."""
    try:
        offload = sandbox.try_tap()
    except (LinkError, OSError) as error:
        # a note only: what causes it (the device, the rights) is a finding of its own
        yield Finding("TAP", WARN, f"could not be tried: {error}")
        return
    if offload:
        yield Finding("TAP", GOOD, "made one, with checksum and segmentation offload")
    else:
        yield Finding("TAP", WARN, "made one; this kernel grants no offload", "all works, bulk transfer is slower")


def clients() -> Iterator[Finding]:
    """Real programs to talk to the stack with; none is needed for it to run."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [name for name in CLIENTS if shutil.which(name, path=path) is None]
    if lacking:
        advice = f"sudo apt-get install {' '.join(CLIENTS[name] for name in lacking)}"
        yield Finding("clients", WARN, f"not installed: {', '.join(lacking)}", advice)
    else:
        yield Finding("clients", GOOD, ", ".join(CLIENTS))


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (python, packages, tun, rights, tap, clients)
