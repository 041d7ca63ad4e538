"""`scapystack run` on a real TAP: what it says, what real programs get, and what it leaves behind."""

import json
import signal
import subprocess
import sys
import time

import pytest
from scapy.layers.inet import TCP
from scapy.utils import rdpcap

from scapystack.link import netns as namespaces
from scapystack.link.pcapread import read_capture
from scapystack.trace import read_trace
from tests.interop.netns import Namespace, needs

PROGRAM = (sys.executable, "-m", "scapystack")
START_S = 15
LAST_LINE = "Ctrl-C ends it"


class Run:
    """A `scapystack run` inside a namespace; what it printed until it was ready is in `said`."""

    def __init__(self, ns, *words, stdin=subprocess.DEVNULL, ready=LAST_LINE):
        self.child = ns.popen(
            *PROGRAM, "run", *words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = []
        for line in self.child.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith(ready):
                break

    def end(self, number=signal.SIGINT):
        """Send a signal; the exit status, and the rest of both outputs."""
        self.child.send_signal(number)
        out, err = self.child.communicate(timeout=START_S)
        return self.child.returncode, out, err


def links(ns):
    """The interfaces of a namespace with their state and addresses, as ip(8) tells."""
    told = json.loads(ns.run("ip", "-j", "address"))
    return {link["ifname"]: (link["flags"], [a["local"] for a in link["addr_info"]]) for link in told}


def gone(name):
    """Whether a named namespace vanishes soon."""
    until = time.monotonic() + START_S
    while namespaces.exists(name) and time.monotonic() < until:
        time.sleep(0.02)
    return not namespaces.exists(name)


@needs("ip", "ping", "nc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_without_options_makes_a_tap_says_so_and_leaves_nothing(netns, number):
    before = links(netns)
    run = Run(netns)
    said = "\n".join(run.said)
    assert "10.0.0.1/24 on tap0 (made for it; offload" in said
    assert "the kernel's end of tap0 is 10.0.0.2/24" in said
    assert "serving echo on TCP and UDP port 7" in said
    assert "try: ping 10.0.0.1   nc 10.0.0.1 7" in said
    assert links(netns)["tap0"][1] == ["10.0.0.2"]
    netns.run("ping", "-c", "2", "-i", "0.2", "-W", "2", "10.0.0.1")
    assert netns.run("nc", "-N", "10.0.0.1", "7", data=b"echo this") == b"echo this"
    status, out, err = run.end(number)
    assert (status, err) == (0, "")
    assert "served 1 connections" in out
    assert links(netns) == before


@needs("ip", "ping", "nc")
def test_run_annotate_writes_beside_every_packet_what_became_of_it(netns, tmp_path):
    path = tmp_path / "run.pcapng"
    run = Run(netns, "-w", str(path), "--annotate")
    netns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
    assert netns.run("nc", "-N", "10.0.0.1", "7", data=b"echo this") == b"echo this"
    assert netns.run("nc", "-N", "10.0.0.1", "8", check=False) == b""
    assert run.end()[::2] == (0, "")
    packets = rdpcap(str(path))  # by Scapy, which knows nothing of how we write
    comments = [b"".join(packet.comments).decode() for packet in packets]
    assert all(comment.partition(":")[0] in ("taken", "sent", "dropped") for comment in comments)
    assert all("rule " in comment for comment in comments)
    noted = "\n".join(comments)
    for words in (
        "ARP, Reply 10.0.0.1 is-at", "RFC 792", "third (SYN): a connection in SYN-RECEIVED", "RCV.NXT advances by 9",
        "ESTABLISHED to CLOSE-WAIT", "RFC 9293 section 3.10.7.1 (CLOSED)", "RFC 9293 section 3.5.2 (resets)",
    ):  # fmt: skip
        assert words in noted
    syn = next(n for n, packet in enumerate(packets) if TCP in packet)
    assert comments[syn].partition("answered ")[2] == comments[syn + 1].splitlines()[0].partition(": ")[2]
    text = next(n for n, comment in enumerate(comments) if "RCV.NXT advances by 9" in comment)
    packet = packets[text][TCP]
    assert f"RCV.NXT {packet.seq} -> {packet.seq + 9}" in comments[text]


@needs("ip", "nc", "ping")
def test_run_trace_tells_of_a_connection_from_its_syn_to_its_end(netns, tmp_path):
    path = tmp_path / "run.jsonl"
    run = Run(netns, "--trace", str(path))
    assert netns.run("nc", "-N", "10.0.0.1", "7", data=b"echo this") == b"echo this"
    netns.run("ping", "-c", "1", "10.0.0.1")  # behind the last ACK: with its answer, that has come, too
    assert run.end()[::2] == (0, "")
    events = list(read_trace(path))
    assert events[0]["segment"]["flags"] == "S"
    assert events[1]["to"] == "SYN-RECEIVED"
    assert {event["connection"] for event in events} == {1}
    assert {event["local"] for event in events} == {"10.0.0.1:7"}
    states = [event["to"] for event in events if "to" in event]
    assert states == ["SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"]
    assert max(event["bytes_received"] for event in events) == 9
    assert max(event["bytes_acked"] for event in events) == 9


@needs("ip")
def test_run_killed_leaves_no_tap_and_starts_again(netns):
    before = links(netns)
    for _ in range(2):
        run = Run(netns)
        assert "tap0" in links(netns)
        run.end(signal.SIGKILL)
        assert links(netns) == before


@needs("ip", "ping")
def test_run_in_a_namespace_it_makes_leaves_none_however_it_ends(netns):
    name = f"{netns.name}-made"
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        run = Run(netns, "--netns", name)
        assert f"in namespace {name} (both made for it;" in run.said[0]
        inside = f"ip netns exec {name} ping -c 1 -W 2 10.0.0.1"
        assert inside.split(" ping", maxsplit=1)[0] in run.said[-2]
        netns.run(*inside.split())
        run.end(number)
        assert gone(name)


@needs("ip", "ping")
def test_run_bridge_joins_the_lan_and_is_undone_however_it_ends(netns, another_netns):
    netns.net.add_veth("wire0", "wire1", another_netns.name)
    netns.net.add_address("wire0", "10.0.0.2/24")
    netns.net.add_route("10.7.0.0/16", via="10.0.0.9")
    another_netns.net.add_address("wire1", "10.0.0.3/24")

    def now():
        return links(netns), netns.run("ip", "route", "show", "10.7.0.0/16").split()[:5]

    before = now()
    for number in (signal.SIGKILL, signal.SIGTERM):
        stale = ("lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "wire1")
        another_netns.run("ip", "neigh", "replace", "10.0.0.1", *stale)
        run = Run(netns, "--bridge", "wire0")
        assert "the stack is a host on that LAN" in run.said[1]
        own = run.said[0].rpartition("MAC ")[2].rstrip(")")
        until = time.monotonic() + START_S
        while own not in (told := another_netns.run("ip", "neigh", "show", "10.0.0.1").decode()):
            assert time.monotonic() < until, told  # it was not announced
            time.sleep(0.05)
        netns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
        another_netns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
        run.end(number)
        until = time.monotonic() + START_S
        while (after := now()) != before and time.monotonic() < until:
            time.sleep(0.05)
        assert after == before


@needs("ip", "ping")
@pytest.mark.parametrize("offload", [[], ["--no-offload"]], ids=["offload", "no-offload"])
def test_run_on_a_tap_that_exists_leaves_the_kernels_side_as_it_is(netns, offload):
    netns.run("ip", "tuntap", "add", "dev", "tap9", "mode", "tap")
    netns.run("ip", "link", "set", "tap9", "up")
    netns.run("ip", "address", "add", "10.0.0.9/24", "dev", "tap9")
    words = ["--tap", "tap9", "--address", "10.0.0.1/24", "--serve", "discard,echo,source", "--no-shell", *offload]
    run = Run(netns, *words, "--set", "tcp.congestion=reno")
    assert "found, the kernel's side left as it is; " + ("no offload" if offload else "offload") in run.said[0]
    assert links(netns)["tap9"][1] == ["10.0.0.9"]
    netns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
    assert run.end()[0] == 0
    assert links(netns)["tap9"][1] == ["10.0.0.9"]


@needs("ip", "tcpdump", "ping")
def test_run_verbose_and_capture_show_the_same_packets(netns, tmp_path):
    capture = tmp_path / "seen.pcapng"
    run = Run(netns, "-v", "-w", capture, "--serve", "")
    netns.run("ping", "-c", "2", "-i", "0.2", "-W", "2", "10.0.0.1")
    status, out, err = run.end()
    assert (status, err) == (0, "")
    told = [line.split(" ", 1)[1] for line in out.splitlines() if " IP " in line or " ARP, " in line]
    read = subprocess.run(["tcpdump", "-tnr", capture], capture_output=True, text=True, check=True).stdout
    assert len(told) == 6
    assert told == [line for line in read.splitlines() if not line.startswith("IP6")]


@needs("ping")
def test_run_capture_to_standard_output_has_it_alone(netns, tmp_path):
    words = (*PROGRAM, "run", "-v", "-w", "-", "--serve", "")
    child = netns.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in child.stderr:
        if line.startswith(LAST_LINE.encode()):
            break
    netns.run("ping", "-c", "1", "-W", "2", "10.0.0.1")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=START_S)
    assert child.returncode == 0
    (tmp_path / "seen.pcapng").write_bytes(out)
    packets = read_capture(tmp_path / "seen.pcapng")
    assert len([p for p in packets if p.data[12:14] in (b"\x08\0", b"\x08\x06")]) == 4
    assert err.count(b" IP 10.0.0.") == 2


@needs("ip")
@pytest.mark.parametrize("how", ["<&-", "</dev/null", "</dev/zero"])
def test_run_whatever_standard_input_is_makes_no_difference(netns, how):
    words = f"exec {' '.join(PROGRAM)} run --serve echo {how}"
    child = netns.popen("sh", "-c", words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.startswith(LAST_LINE):
            break
    with netns.connect(7) as sock:
        sock.sendall(b"x" * 1000)
        assert sock.recv(1000, 0x100) == b"x" * 1000  # MSG_WAITALL
    child.send_signal(signal.SIGINT)
    assert child.wait(START_S) == 0


@needs("ip")
def test_run_tap_deleted_under_it_says_so_and_ends(netns):
    run = Run(netns)
    netns.run("ip", "link", "delete", "tap0")
    out, err = run.child.communicate(timeout=START_S)
    assert run.child.returncode == 1
    assert err == "scapystack: tap0: the interface is gone\n"
    assert out.startswith("ran ")


@pytest.fixture(scope="module")
def occupied():
    """A namespace in which a stack runs already, which all the others that try leave as it is."""
    ns = Namespace()
    first = Run(ns)
    yield ns
    status, _, err = first.end()
    ns.close()
    assert (status, err) == (0, "")


@needs("ip")
@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ([], 2, "10.0.0.0/24 is in use already (10.0.0.2/24 on tap0)"),
        (["--tap", "tap0"], 1, "TAP tap0 is in use by another program"),
        (["--tap", "lo"], 1, "lo is no TAP interface"),
        (["--bridge", "nosuch", "--address", "10.1.0.1/24"], 1, "there is no interface nosuch"),
        (["-w", "/nosuch/x.pcapng", "--address", "10.1.0.1/24"], 1, "/nosuch/x.pcapng"),
        (["--serve", "echo,discard:7", "--address", "10.1.0.1/24"], 2, "port 7"),
    ],
)
def test_run_what_cannot_be_is_one_line_and_leaves_nothing(occupied, words, status, told):
    before = links(occupied)
    child = occupied.popen(
        *PROGRAM, "run", *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = child.communicate(timeout=START_S)  # one that runs on is killed with the namespace
    assert (child.returncode, out) == (status, "")
    assert len(err.splitlines()) == 1
    assert told in err
    assert links(occupied) == before


@needs("setpriv")
def test_run_without_rights_is_one_line(netns):
    """Root without any capability: as an ordinary user, but the files can be read wherever they are."""
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *PROGRAM, "run"]
    child = netns.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.communicate(timeout=START_S)
    assert (child.returncode, out) == (1, "")
    assert err == "scapystack: no right to use TAP interfaces: run as root (CAP_NET_ADMIN)\n"
