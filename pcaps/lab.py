"""The laboratory of `make.py`: two kernels in namespaces, and a wire between them that loses what it is told to.

The client is 10.0.0.2 on `c0`, the server 10.0.0.1 on `s0`; nothing else is on their network. Between them lies a
third namespace with a program that passes frames on and, by rule, drops, delays, doubles, marks or damages the
nth of a kind, or adds one: the same every time, as no random loss could. `Lab(router=True)` puts a router there
instead, the kernel's, with a narrow link on the client's side. tcpdump captures at either end. Needs root.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from scapystack.link import netns

CLIENT, SERVER = "10.0.0.2", "10.0.0.1"
FAR_CLIENT = "10.0.1.2"  # behind the router
NARROW = 1_000
Rule = tuple[str, str, int]
"""A way (`>` to the server, `<` to the client), a kind of packet, and which of them, from 1."""
Edit = Callable[[Ether], list[tuple[float, Ether]]]


def kind_of(frame: Ether) -> str:
    """What rules call it; a retransmission is `again`."""
    if TCP not in frame:
        return "ip" if IP in frame else "other"
    flags, text = frame[TCP].flags, len(frame[TCP].payload)
    for letter, name in (("R", "rst"), ("S", "syn"), ("F", "fin")):
        if letter in flags:
            return "synack" if name == "syn" and "A" in flags else name
    return "data" if text and frame[IP].len > len(frame[IP].payload) else "ack"


class Wire(threading.Thread):
    """Passes frames on between two interfaces, by the rules."""

    def __init__(self, name: str, delay_s: float, edits: Mapping[Rule, Edit]) -> None:
        super().__init__(daemon=True)
        self.delay_s = delay_s
        self.edits = dict(edits)
        self.seen: Counter[tuple[str, str]] = Counter()
        self._top: dict[str, int] = {}
        self._ports = {way: netns.in_namespace(name, lambda i=i: _port(i)) for way, i in ((">", "w1"), ("<", "w0"))}
        self._woken, self._waker = os.pipe()
        self._queue: list[tuple[float, int, str, bytes]] = []
        self._order = itertools.count()

    def run(self) -> None:
        # what comes in by the client's side goes out on the server's, and the other way round
        come = {self._ports["<"]: ">", self._ports[">"]: "<"}
        while True:
            wait = max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None
            ready = select.select([*come, self._woken], [], [], wait)[0]
            if self._woken in ready:
                return
            for port in ready:
                octets, where = port.recvfrom(65_600)
                if where[2] != socket.PACKET_OUTGOING:
                    self._take(octets, come[port])
            while self._queue and self._queue[0][0] <= time.monotonic():
                _, _, way, octets = heapq.heappop(self._queue)
                self._ports[way].send(octets)

    def _take(self, octets: bytes, way: str) -> None:
        frame = Ether(octets)
        kind = kind_of(frame)
        if kind == "data":
            end = (frame[TCP].seq + len(frame[TCP].payload)) & 0xFFFFFFFF
            if end == self._top.setdefault(way, end) or (end - self._top[way]) & 0x80000000:
                kind = "again" if self.seen[way, "data"] else kind
            else:
                self._top[way] = end
        self.seen[way, kind] += 1
        edit = self.edits.get((way, kind, self.seen[way, kind])) or self.edits.get((way, kind, 0))
        for late, each in edit(frame) if edit is not None else [(0.0, frame)]:
            back = each is not frame and each[Ether].src == frame[Ether].dst  # an answer that nobody has sent
            towards = way if not back else "<" if way == ">" else ">"
            at = time.monotonic() + self.delay_s + late
            heapq.heappush(self._queue, (at, next(self._order), towards, octets if each is frame else bytes(each)))

    def close(self) -> None:
        """Stop, once all that is under way has arrived."""
        os.write(self._waker, b"x")
        self.join()
        for port in self._ports.values():
            port.close()


def _port(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind((interface, 0))
    return made


# -- rules -------------------------------------------------------------------------------------------------


def drop(frame: Ether) -> list[tuple[float, Ether]]:
    """Lost."""
    return []


def late(seconds: float) -> Edit:
    """Overtaken by those behind it."""

    def edit(frame: Ether) -> list[tuple[float, Ether]]:
        return [(seconds, frame)]

    edit.__doc__ = f"{seconds * 1000:g} ms late"
    return edit


def twice(frame: Ether) -> list[tuple[float, Ether]]:
    """Doubled."""
    return [(0.0, frame), (0.001, frame)]


def damage(frame: Ether) -> list[tuple[float, Ether]]:
    """One bit of the last octet flipped; the checksum is the sender's."""
    octets = bytearray(bytes(frame))
    octets[-1] ^= 1
    return [(0.0, Ether(bytes(octets)))]


def mark(frame: Ether) -> list[tuple[float, Ether]]:
    """Marked (congestion experienced)."""
    frame = frame.copy()
    frame[IP].tos |= 3
    del frame[IP].chksum
    return [(0.0, Ether(bytes(frame)))]


def inject(make: Callable[[Ether], Ether]) -> Edit:
    """The frame, and behind it one that nobody has sent."""
    return lambda frame: [(0.0, frame), (0.02, make(frame))]


class Lab:
    """The two hosts and what is between them. A context manager."""

    def __init__(
        self,
        edits: Mapping[Rule, Edit] | None = None,
        *,
        delay_s: float = 0.005,
        sysctls: Mapping[str, object] | None = None,
        client_sysctls: Mapping[str, object] | None = None,
        offload: bool = False,
        router: bool = False,
    ) -> None:
        """`offload`: a veth pair joins the hosts without a wire, and they pass super-segments."""
        tag = f"pcaps-{os.getpid()}"
        self.client, self.server, self.between = f"{tag}-c", f"{tag}-s", f"{tag}-w"
        self.client_address = FAR_CLIENT if router else CLIENT
        self.wire: Wire | None = None
        self._dumps: list[tuple[subprocess.Popen[str], Path]] = []
        for name in (self.client, self.server, self.between):
            netns.create(name)
        try:
            for name in (self.client, self.server, self.between):
                for family in ("all", "default"):
                    self.sysctl(name, f"net.ipv6.conf.{family}.disable_ipv6", 1)
                self.sysctl(name, "net.ipv4.tcp_no_metrics_save", 1)
                self.ip(name, "link set lo up")
            for name, value in (sysctls or {}).items():
                self.sysctl(self.server, name, value)
            for name, value in {**(sysctls or {}), **(client_sysctls or {})}.items():
                self.sysctl(self.client, name, value)
            self._connect(offload, router)
            if not offload and not router:
                self.wire = Wire(self.between, delay_s, edits or {})
                self.wire.start()
        except BaseException:
            self.close()
            raise

    def _connect(self, offload: bool, router: bool) -> None:
        if offload:
            self.ip(self.client, f"link add c0 type veth peer name s0 netns {self.server}")
        else:
            self.ip(self.client, f"link add c0 type veth peer name w0 netns {self.between}")
            self.ip(self.server, f"link add s0 type veth peer name w1 netns {self.between}")
            for interface in ("w0", "w1"):
                self.ip(self.between, f"link set {interface} up")
        self.ip(self.client, "link set c0 address 02:00:00:00:00:02")
        self.ip(self.server, "link set s0 address 02:00:00:00:00:01")
        for name, interface in ((self.client, "c0"), (self.server, "s0")):
            if not offload:
                self.run(name, f"ethtool -K {interface} tx off rx off tso off gso off gro off")
        self.ip(self.client, f"address add {self.client_address}/24 dev c0")
        self.ip(self.server, f"address add {SERVER}/24 dev s0")
        self.ip(self.client, "link set c0 up")
        self.ip(self.server, "link set s0 up")
        if router:
            self.ip(self.between, "address add 10.0.1.1/24 dev w0")
            self.ip(self.between, "address add 10.0.0.254/24 dev w1")
            self.ip(self.between, f"link set w0 mtu {NARROW}")
            self.sysctl(self.between, "net.ipv4.ip_forward", 1)
            self.ip(self.client, "route add default via 10.0.1.1")
            self.ip(self.server, "route add default via 10.0.0.254")
        far, near = ("10.0.1.1", "10.0.0.254") if router else (SERVER, CLIENT)
        self.neighbour(self.client, far, "c0", self.between if router else self.server, "w0" if router else "s0")
        self.neighbour(self.server, near, "s0", self.between if router else self.client, "w1" if router else "c0")

    def neighbour(self, name: str, address: str, interface: str, of: str, there: str) -> None:
        """No ARP in the captures: everybody knows everybody."""
        mac = json.loads(self.run(of, f"ip -j link show {there}"))[0]["address"]
        self.ip(name, f"neighbour replace {address} lladdr {mac} dev {interface} nud permanent")

    # -- programs --------------------------------------------------------------------------------------

    def run(self, name: str, words: str) -> str:
        """What a program in a namespace prints."""

        def start() -> subprocess.CompletedProcess[str]:
            return subprocess.run(words.split(), capture_output=True, text=True, check=True, timeout=60)

        return netns.in_namespace(name, start).stdout

    def try_run(self, name: str, words: str) -> None:
        """The same for a program that may fail."""
        netns.in_namespace(name, lambda: subprocess.run(words.split(), capture_output=True, check=False, timeout=60))

    def ip(self, name: str, words: str) -> None:
        """ip(8)."""
        self.run(name, f"ip {words}")

    def sysctl(self, name: str, key: str, value: object) -> None:
        """Set a parameter of a namespace's kernel."""
        path = Path("/proc/sys") / key.replace(".", "/")
        netns.in_namespace(name, lambda: path.write_text(f"{value}\n"))

    def socket(self, name: str, kind: int = socket.SOCK_STREAM, port: int = 0, **options: int) -> socket.socket:
        """A socket of a namespace's kernel, bound to `port`; `options` of level TCP or SOL_SOCKET by name."""
        made = netns.in_namespace(name, lambda: socket.socket(socket.AF_INET, kind))
        made.settimeout(20)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option, value in options.items():
            level = socket.IPPROTO_TCP if option.startswith("TCP_") else socket.SOL_SOCKET
            made.setsockopt(level, getattr(socket, option), value)
        if port:
            made.bind(("0.0.0.0", port))
        return made

    def listener(self, port: int = 80, **options: int) -> socket.socket:
        """A listening socket of the server's."""
        made = self.socket(self.server, port=port, **options)
        made.listen(8)
        return made

    def pair(
        self, port: int = 80, source: int = 40_000, listener: socket.socket | None = None, **options: int
    ) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection, the client's first."""
        own = listener or self.listener(port)
        client = self.socket(self.client, port=source, **options)
        client.connect((SERVER, port))
        server, _ = own.accept()
        server.settimeout(20)
        if listener is None:
            own.close()
        return client, server

    # -- capturing -------------------------------------------------------------------------------------

    @contextmanager
    def capture(self, path: Path, at: str = "server", interface: str = "", words: str = "") -> Iterator[None]:
        """tcpdump at one end, for the time of the block."""
        name = self.client if at == "client" else self.server
        interface = interface or ("c0" if at == "client" else "s0")
        how = "-Z root -n -U --immediate-mode -B 4096 --time-stamp-precision=nano"
        command = f"tcpdump {how} -i {interface} -w {path} {words}"

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(command.split(), stderr=subprocess.PIPE, text=True)

        dump = netns.in_namespace(name, start)
        assert dump.stderr is not None
        for line in dump.stderr:
            if "listening on" in line:
                break
        time.sleep(0.1)
        try:
            yield
            time.sleep(0.1)
        finally:
            dump.send_signal(signal.SIGINT)
            dump.wait(10)

    def close(self) -> None:
        """Take it all down."""
        if self.wire is not None and self.wire.is_alive():
            self.wire.close()
        for name in (self.client, self.server, self.between):
            netns.remove(name)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
