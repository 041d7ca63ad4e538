"""Where `scapystack bench` measures: a stack on a TAP and, beside it, the kernel over a veth pair.

Two namespaces without names, gone with this process: in one the clients, with the kernel's end of the TAP and one
end of the cable; in the other the kernel that serves at the cable's other end. The stack is `scapystack run` in a
process of its own; run as a program, this file is that process.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from scapystack.base.errors import LinkError

STACK, STACK_PEER = "10.0.0.1", "10.0.0.2"
KERNEL, KERNEL_PEER = "10.1.0.1", "10.1.0.2"
SIDES = {"stack": STACK, "kernel": KERNEL}
_READY_S = 20.0
_GRACE_S = 20.0
_LOAD = Path(__file__).with_name("bench_load.py")
_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv4/tcp_no_metrics_save": "1",  # no connection shall learn from the one before
    "net/ipv4/tcp_congestion_control": "cubic",  # what the stack has
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv4/tcp_tw_reuse": "1",  # or short connections run out of ports
}


class Lab:
    """Both sides, ready to be measured. A context manager; raises LinkError."""

    def __init__(self, stack_options: list[str] | None = None) -> None:
        """`stack_options` are those of `scapystack run`."""
        self._options = stack_options or []
        self._until_end = ExitStack()
        self._stack_pid = 0

    def __enter__(self) -> Self:
        with ExitStack() as until_end:
            self._build(until_end)
            self._until_end = until_end.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._until_end.close()

    def _build(self, until_end: ExitStack) -> None:
        from scapystack.cli.sandbox import Sandbox  # noqa: PLC0415 - not for --help, nor for the child
        from scapystack.link.netlink import Netlink  # noqa: PLC0415
        from scapystack.link.netns import in_namespace  # noqa: PLC0415

        self._clients = until_end.enter_context(Sandbox())
        server = until_end.enter_context(Sandbox())
        for each in (self._clients, server):
            in_namespace(each.path, _set_sysctls)
            Netlink(each.path).set_up("lo")
        here, there = Netlink(self._clients.path), Netlink(server.path)
        here.add_veth("cable", "cable", server.path)
        here.add_address("cable", f"{KERNEL_PEER}/24")
        there.add_address("cable", f"{KERNEL}/24")
        words = ["--address", f"{STACK}/24", "--direct", f"{STACK_PEER}/24", "--serve", "echo,discard,source"]
        child = self._start(
            until_end,
            self._clients.popen,
            [sys.executable, "-m", "scapystack.cli.bench_lab", *words, *self._options],
            "Ctrl-C ends it",
        )
        self._stack_pid = child.pid
        self._start(until_end, server.popen, [sys.executable, "-I", str(_LOAD), "serve", KERNEL], "ready")

    def _start(
        self, until_end: ExitStack, popen: type[subprocess.Popen[bytes]] | object, words: list[str], ready: str
    ) -> subprocess.Popen[bytes]:
        """Start a server, and wait for the line that says that it serves. It ends when its standard input does."""
        assert callable(popen)
        child: subprocess.Popen[bytes] = popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until_end.callback(_end, child)
        assert child.stdout is not None
        assert child.stderr is not None
        if not _says(child.stdout, ready):
            child.kill()
            told = child.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise LinkError(told or f"{' '.join(words[1:4])} did not start in {_READY_S:.0f} s")
        return child

    def measure(self, workload: str, side: str, seconds: float) -> float:
        """The figure of a workload against `stack` or `kernel`. Raises LinkError."""
        words = [sys.executable, "-I", str(_LOAD), workload, SIDES[side], str(seconds)]
        client = self._clients.popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, error = client.communicate(timeout=seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            raise LinkError(f"{workload} against the {side} did not end") from None
        finally:
            if client.poll() is None:
                client.kill()
                client.wait()
        if client.returncode:
            raise LinkError(error.decode(errors="replace").strip().rpartition("\n")[2] or f"{workload} failed")
        return float(json.loads(out))

    def stack_cpu(self) -> float:
        """Processor seconds that the stack's process has used so far."""
        fields = Path(f"/proc/{self._stack_pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _set_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        with suppress(OSError):  # not there, or not ours to set: the figures are what they are
            Path("/proc/sys", name).write_text(value)


def _says(stream: IO[bytes], wanted: str) -> bool:
    """Whether that line comes in time; the lines before it are passed over."""
    said = b""
    until = time.monotonic() + _READY_S
    while wanted.encode() not in said:
        ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
        piece = os.read(stream.fileno(), 65_536) if ready else b""
        if not piece:
            return False
        said += piece
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    """Have a server end, and wait for it."""
    assert child.stdin is not None
    with suppress(OSError):
        child.stdin.close()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def _run_until_stdin_ends(words: list[str]) -> None:
    """`scapystack run`, ended as by a signal when whoever started us is gone."""
    import signal  # noqa: PLC0415 - the child's alone

    from scapystack.cli.main import program  # noqa: PLC0415

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    program.main(["run", "--no-shell", *words])


if __name__ == "__main__":
    _run_until_stdin_ends(sys.argv[1:])
