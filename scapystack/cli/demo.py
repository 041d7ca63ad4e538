"""`scapystack demo`: the stack's main job, shown step by step on real input.

In a namespace of its own (`cli.sandbox`) a TAP joins the stack to this machine's kernel, and real
programs talk to it; where that may not be, a second stack over a memory link stands in. The steps are
in `cli.demo_steps`, the clients in `cli.peers`.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from scapystack.base.errors import LinkError
from scapystack.cli.home import leave_routes
from scapystack.cli.output import console

if TYPE_CHECKING:
    from rich.console import Console

    from scapystack.base.frames import Frame
    from scapystack.cli.demo_steps import Scene
    from scapystack.link.base import Link
    from scapystack.link.capture import Capture

STACK, PEER, LENGTH = "10.0.0.1", "10.0.0.2", 24
TAP = "tap0"
HEAD, TAIL = 6, 2
"""Packets shown of a step: the first and the last ones."""


@click.command("demo")
@click.option("-w", "capture", metavar="FILE", help="Where the packets go (demo.pcapng).")
@click.option("--memory", is_flag=True, help="A second stack over a memory link, even where a TAP could be had.")
@click.option("--no-offload", is_flag=True, help="Finish checksums and cut segments here, not in the kernel.")
@click.option(
    "--codec",
    type=click.Choice(("compiled", "scapy", "paranoid")),
    default="compiled",
    help="How headers are read and written.",
)
@click.option("-a", "--all", "everything", is_flag=True, help="Print every packet, not only the first and last ones.")
def command(capture: str | None, memory: bool, no_offload: bool, codec: str, everything: bool) -> int:
    """Show the stack at work beside a real Linux kernel, step by step.

    The exit status is 0 if every step held.
    """
    from scapystack.runtime.signals import exit_on_signals  # noqa: PLC0415

    exit_on_signals()
    leave_routes()
    out = console(stderr=capture == "-")
    reason = "you asked for it" if memory else why_not_a_tap()
    with ExitStack() as until_end:
        recorder = Recorder(until_end, capture)
        scene = None
        if not reason:
            try:
                scene = until_end.enter_context(kernel_scene(out, recorder, offload=not no_offload, codec=codec))
            except LinkError as error:
                reason = str(error)
        if scene is None:
            scene = until_end.enter_context(memory_scene(out, recorder, codec))
            stand_in(out, reason, asked=memory)
        out.print(f"the stack is {STACK}, and {scene.peer.name} is {PEER}; clients: {scene.peer.about()}", markup=False)
        failed = play(out, scene, recorder, everything)
    out.print(f"{recorder.path}: every packet, for Wireshark or tcpdump -r", markup=False)
    return 1 if failed else 0


def why_not_a_tap() -> str:
    """Why this process cannot have a TAP with a kernel of its own behind it; "" if it can.

    An ordinary user whom the kernel lets have namespaces becomes root of one here.
    """
    from scapystack.cli import doctor, sandbox  # noqa: PLC0415

    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no right to open /dev/net/tun"
    if doctor.lacking_capabilities():
        if not sandbox.user_namespace_works():
            return "no right to make a namespace"
        sandbox.become_root()
    return ""


def stand_in(out: Console, reason: str, *, asked: bool) -> None:
    """Say that this is not the real thing, why, and what would be."""
    out.print(f"[yellow]Without a real kernel ({escape(reason)}): a second stack over a memory link stands in.[/]")
    if not asked:
        again = f"sudo {shlex.join([sys.executable, '-m', 'scapystack', 'demo'])}"
        load = "" if os.path.exists("/dev/net/tun") else "sudo modprobe tun; "
        out.print(f"The real thing: {load}{again}", markup=False)
        out.print(
            "(in a container it needs: --device /dev/net/tun --cap-add NET_ADMIN --cap-add SYS_ADMIN)", markup=False
        )


@contextmanager
def kernel_scene(out: Console, recorder: Recorder, *, offload: bool, codec: str) -> Iterator[Scene]:
    """The stack on a TAP in a namespace of its own, and the kernel behind it. Raises LinkError."""
    from scapystack.cli.demo_steps import Scene  # noqa: PLC0415
    from scapystack.cli.peers import KernelPeer  # noqa: PLC0415
    from scapystack.cli.sandbox import Sandbox  # noqa: PLC0415
    from scapystack.link.netlink import Netlink  # noqa: PLC0415
    from scapystack.link.netns import in_namespace  # noqa: PLC0415
    from scapystack.link.tap import TapLink  # noqa: PLC0415
    from scapystack.sockets import Stack  # noqa: PLC0415

    with Sandbox() as sandbox:
        link = TapLink(TAP, netns=sandbox.path, offload=offload)
        host = Netlink(sandbox.path)
        in_namespace(sandbox.path, _no_ipv6)
        host.set_up("lo")
        host.add_address(TAP, f"{PEER}/{LENGTH}")
        host.set_up(TAP)
        granted = "checksum and segmentation offload" if link.offload else "no offload"
        out.print(f"{TAP} in a network namespace of its own, {granted}", markup=False)
        with Stack(f"{STACK}/{LENGTH}", link=recorder.around(link), codec=codec) as stack:
            stack.net.taps.append(recorder.note)
            yield Scene(
                stack, STACK, KernelPeer(sandbox, PEER), lambda line: out.print(line, style="bold", markup=False)
            )


def _no_ipv6() -> None:
    """Keep the kernel's own neighbour discovery out of the picture."""
    try:
        Path(f"/proc/sys/net/ipv6/conf/{TAP}/disable_ipv6").write_text("1")
    except OSError:
        return  # a kernel without IPv6, or a /proc that cannot be written: a few more lines to read


@contextmanager
def memory_scene(out: Console, recorder: Recorder, codec: str) -> Iterator[Scene]:
    """Two stacks joined in memory."""
    from scapystack.cli.demo_steps import Scene  # noqa: PLC0415
    from scapystack.cli.peers import StackPeer  # noqa: PLC0415
    from scapystack.link.memory import MemoryLink  # noqa: PLC0415
    from scapystack.sockets import Stack  # noqa: PLC0415

    ours, theirs = MemoryLink.pair(("mem0", "mem0"))
    with (
        Stack(f"{PEER}/{LENGTH}", link=theirs, codec=codec) as other,
        Stack(f"{STACK}/{LENGTH}", link=recorder.around(ours), codec=codec) as stack,
    ):
        stack.net.taps.append(recorder.note)
        yield Scene(stack, STACK, StackPeer(other, PEER), lambda line: out.print(line, style="bold", markup=False))


class Recorder:
    """Keeps the packets of a step for the screen, and all of them for the capture."""

    def __init__(self, until_end: ExitStack, path: str | None) -> None:
        """None is `demo.pcapng` here, or where one may write if not here. Raises LinkError."""
        from scapystack.link.capture import Capture  # noqa: PLC0415

        self.step = ""
        self._packets: list[tuple[int, Frame]] = []
        self._lock = threading.Lock()
        try:
            self.path = path or "demo.pcapng"
            self.capture: Capture = Capture(self.path, comment=lambda way, frame: self.step)
        except LinkError:
            if path is not None:
                raise
            self.path = str(Path(tempfile.mkdtemp(prefix="scapystack-")) / "demo.pcapng")
            self.capture = Capture(self.path, comment=lambda way, frame: self.step)
        until_end.callback(self.capture.close)

    def around(self, link: Link) -> Link:
        """The link, captured."""
        from scapystack.link.capture import CaptureLink  # noqa: PLC0415

        return CaptureLink(link, self.capture, shared=True)

    def note(self, way: str, frame: Frame) -> None:
        """An observer for `NetStack.taps`."""
        if frame.iface is not None and not frame.iface.loopback:
            with self._lock:
                self._packets.append((time.time_ns(), frame))

    def take(self) -> list[tuple[int, Frame]]:
        """The packets since the last call."""
        with self._lock:
            packets, self._packets = self._packets, []
        return packets


def play(out: Console, scene: Scene, recorder: Recorder, everything: bool) -> int:
    """Play every step; how many failed."""
    from scapystack.cli.demo_steps import STEPS, StepFailed  # noqa: PLC0415
    from scapystack.describe import Describer  # noqa: PLC0415

    describer = Describer()
    failed = 0
    began = time.monotonic()
    for number, (title, step) in enumerate(STEPS, 1):
        out.print(f"\n[cyan]{number:>2}. {escape(title)}[/]")
        recorder.step = title
        started = time.monotonic()
        try:
            verdict, told = "[green]ok[/]", step(scene)
        except (StepFailed, OSError) as error:
            failed += 1
            verdict, told = "[bold red]FAILED[/]", f"{error}"
        finally:
            scene.end()
        took = time.monotonic() - started
        for line in lines(recorder.take(), describer, everything):
            out.print(f"    {line}", style="dim", markup=False)
        out.print(f"    {verdict} {escape(told)} [dim]({took:.2f} s)[/]")
    total = time.monotonic() - began
    if failed:
        out.print(f"\n[bold red]{failed} of {len(STEPS)} steps failed[/] ({total:.1f} s)")
    else:
        out.print(f"\n[green]all {len(STEPS)} steps held[/] ({total:.1f} s)")
    return failed


def lines(packets: list[tuple[int, Frame]], describer: Any, everything: bool) -> Iterator[str]:
    """A line for each packet, less those in the middle of many (which the describer sees all the same)."""
    described = [describer(frame, at) for at, frame in packets]
    left_out = len(described) - HEAD - TAIL
    if everything or left_out <= 1:
        yield from described
        return
    yield from described[:HEAD]
    yield f"... {left_out} more packets ..."
    yield from described[-TAIL:]
