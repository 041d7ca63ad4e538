"""`debug` and `tcpdump`: what they show of what passes, and how they end."""

import re

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import CookedLinux, Ether
from scapy.utils import wrpcap

from scapystack.link.pcapread import read_capture


def echo_later(shell, ms=10):
    """A ping by the other stack, while a command of the shell runs."""

    def ping():
        with shell.other.pinger() as pinger:
            pinger.ping("10.0.0.1", 1, b"x" * 56)

    at = shell.simulation.now + ms * 1_000_000
    shell.simulation.at(at, lambda: shell.simulation.start(ping, "ping"))


def without_times(text):
    return [line.partition(" ")[2] for line in text.splitlines()]


def test_debug_shows_each_layer_until_ctrl_c(shell):
    echo_later(shell)
    shell.interrupt_after(500)
    status, out, err = shell.run("debug all")
    assert (status, err) == (130, "")
    assert without_times(out)[:4] == [
        "dev  rx mem0 42 octets",
        "l2   rx mem0 02:00:00:00:00:02 > ff:ff:ff:ff:ff:ff ARP",
        "arp  rx mem0 ARP, Request who-has 10.0.0.1 tell 10.0.0.2, length 28",
        "dev  tx mem0 42 octets",
    ]
    assert re.search(r"ip   rx mem0 10\.0\.0\.2 > 10\.0\.0\.1 icmp ttl 64 tos 0x0 id \d+ len 84\n", out)
    assert re.search(r"icmp tx mem0 IP 10\.0\.0\.1 > 10\.0\.0\.2: ICMP echo reply, id \d+, seq 1, length 64\n", out)
    assert shell.stack.net.taps == []


def test_debug_shows_only_the_levels_asked_for(shell):
    echo_later(shell)
    shell.interrupt_after(500)
    out = shell.run("debug arp")[1]
    assert [line.split()[0] for line in without_times(out)] == ["arp", "arp"]


def test_debug_tcpstate_shows_moves_and_their_reason(shell):
    server = shell.other.create_server(("", 80))
    shell.ok("debug -n tcpstate")
    client = shell.stack.create_connection(("10.0.0.2", 80))
    port = client.getsockname()[1]
    client.close()
    server.close()
    assert shell.session.execute("debug -c") == 0  # not `ok`: it forgets what the thread has printed by then
    lines = without_times(shell.out)
    ends = f"tcpstate 10.0.0.1:{port} 10.0.0.2:80"
    assert lines[:3] == [
        f"{ends} CLOSED -> SYN-SENT (active OPEN: send SYN)",
        f"{ends} SYN-SENT -> ESTABLISHED (receive SYN and ACK of SYN, send ACK)",
        f"{ends} ESTABLISHED -> FIN-WAIT-1 (CLOSE: send FIN)",
    ]
    assert shell.stack.net.tcp.observers == []


def test_debug_n_goes_on_while_other_commands_run_and_c_ends_it(shell):
    shell.session.execute("debug -n icmp")
    assert shell.session.execute("ping -c 1 10.0.0.2") == 0
    assert shell.session.execute("debug") == 0
    assert "debug shows icmp; the levels are dev l2 arp" in shell.out
    assert shell.session.execute("debug -c; ping -c 1 10.0.0.2; debug") == 0
    assert shell.out.count("ICMP echo request") == 1
    assert shell.out.count("ICMP echo reply") == 1
    assert "debug shows nothing" in shell.out
    assert shell.stack.net.taps == []


def test_debug_of_a_session_that_closes_ends(shell):
    shell.session.execute("debug -n all")
    shell.session.close()
    assert shell.stack.net.taps == []


def test_tcpdump_shows_packets_that_the_filter_picks(shell):
    echo_later(shell)
    shell.interrupt_after(500)
    status, out, err = shell.run("tcpdump icmp and src host 10.0.0.2")
    assert status == 0
    assert len(without_times(out)) == 1
    assert without_times(out)[0].startswith("mem0 In  IP 10.0.0.2 > 10.0.0.1: ICMP echo request, id ")
    assert err == "tcpdump: listening on any, Ctrl-C ends it\n1 packets captured, 0 missed\n"


def test_tcpdump_ends_after_c_packets_with_link_headers_and_octets(shell):
    echo_later(shell)
    out = shell.ok("tcpdump -q -c 2 -e -x -i mem0")
    first, dump, *_ = out.splitlines()
    assert "02:00:00:00:00:02 > ff:ff:ff:ff:ff:ff ARP, Request who-has" in first
    assert dump == "\t0x0000:  0001 0800 0604 0001 0200 0000 0002 0a00"
    assert shell.stack.net.taps == []


def test_tcpdump_writes_a_capture_that_opens(shell, tmp_path):
    shell.session.cwd = str(tmp_path)
    for name in ("seen.pcapng", "seen.pcap"):
        echo_later(shell)
        assert shell.ok(f"tcpdump -q -c 2 -w {name} icmp") == ""
        assert [len(packet.data) for packet in read_capture(tmp_path / name)] == [98, 98]
    echo_later(shell)
    shell.run("tcpdump -q -c 2 -w - icmp")
    (tmp_path / "out.pcapng").write_bytes(b"".join(shell.said["out"]))
    assert len(read_capture(tmp_path / "out.pcapng")) == 2


def test_tcpdump_reads_what_it_has_written(shell, tmp_path):
    shell.session.cwd = str(tmp_path)
    echo_later(shell)
    shell.ok("tcpdump -q -c 4 -w seen.pcapng")
    shell.ok("tcpdump -r seen.pcapng -w seen.pcap")
    for name in ("seen.pcapng", "seen.pcap"):
        lines = shell.ok(f"tcpdump -r {name} icmp").splitlines()
        assert [line.partition("IP ")[2].partition(",")[0] for line in lines] == [
            "10.0.0.2 > 10.0.0.1: ICMP echo request",
            "10.0.0.1 > 10.0.0.2: ICMP echo reply",
        ]
        assert ("mem0 In  IP" in lines[0]) == (name == "seen.pcapng")
    assert len(shell.ok("tcpdump -r seen.pcapng -c 1").splitlines()) == 1
    assert shell.ok("tcpdump -r seen.pcapng -w replies.pcap icmp[0] == 0") == ""
    assert shell.ok("tcpdump -r replies.pcap").count("echo reply") == 1
    whole = (tmp_path / "seen.pcap").read_bytes()
    (tmp_path / "torn.pcap").write_bytes(whole[:-10])
    status, out, err = shell.run("tcpdump -r torn.pcap")
    assert (status, len(out.splitlines()), err.count("\n")) == (0, 3, 1)


def test_tcpdump_reads_packets_of_other_links(shell, tmp_path):
    shell.session.cwd = str(tmp_path)
    wrpcap(str(tmp_path / "raw.pcap"), [IP(src="10.0.0.9", dst="10.0.0.1") / ICMP()], linktype=101)
    wrpcap(str(tmp_path / "cooked.pcap"), [CookedLinux() / IP(src="10.0.0.9", dst="10.0.0.1") / ICMP()])
    for name in ("raw.pcap", "cooked.pcap"):
        assert "IP 10.0.0.9 > 10.0.0.1: ICMP echo request" in shell.ok(f"tcpdump -r {name} src 10.0.0.9")


def test_tcpdump_verbose_shows_the_header_and_then_everything(shell, tmp_path):
    shell.session.cwd = str(tmp_path)
    packet = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / IP(dst="10.0.0.1", src="10.0.0.2", flags="DF")
    wrpcap(str(tmp_path / "one.pcap"), [packet / ICMP(), packet / UDP(sport=5, dport=7)])
    first, second, *_ = shell.ok("tcpdump -v -r one.pcap").splitlines()
    assert first.endswith(" IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto ICMP (1), length 28)")
    assert second.startswith("    10.0.0.2 > 10.0.0.1: ICMP echo request, id 0")
    assert "###[ UDP ]###" in shell.ok("tcpdump -vv -r one.pcap")


def test_tcpdump_with_a_wrong_filter_or_file_is_one_line(shell):
    assert "is no filter" in shell.bad("tcpdump -q nosuch filter")
    assert "no interface" in shell.bad("tcpdump -i nosuch")
    assert "no interface (-i) goes with it" in shell.bad("tcpdump -r a.pcap -i mem0")
    assert "the same file" in shell.bad("tcpdump -r a.pcap -w a.pcap")
    assert "/nonexistent/a.pcap: No such file" in shell.bad("tcpdump -r a.pcap", 1)
    assert "cannot write /nonexistent/x.pcap" in shell.bad("tcpdump -q -w x.pcap", 1)
    assert shell.stack.net.taps == []
