"""`ping`, `ping2`, `arping`, `traceroute`: what they print, how they end, in virtual time."""

import pytest
from scapy.layers.inet import ICMP, IP

from scapystack.link.memory import MemoryLink
from scapystack.sockets.facade import Stack


@pytest.mark.parametrize("name", ["ping", "ping2"])
def test_ping_prints_times_and_a_summary(shell, name):
    shell.ok("ping -c 1 10.0.0.2")
    assert shell.ok(f"{name} -c 2 -s 1000 -i 0.5 10.0.0.2").splitlines() == [
        "PING 10.0.0.2: 1000 octets of data",
        "1008 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=20.000 ms",
        "1008 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=20.000 ms",
        "--- 10.0.0.2 ping statistics ---",
        "2 packets transmitted, 2 received, 0% packet loss, time 520ms",
        "rtt min/avg/max/mdev = 20.000/20.000/20.000/0.000 ms",
    ]


def test_ping_quiet_prints_the_first_line_and_the_summary(shell):
    shell.ok("ping -c 1 10.0.0.2")
    assert [line.split(",")[0] for line in shell.ok("ping -q -c 2 10.0.0.2").splitlines()] == [
        "PING 10.0.0.2: 56 octets of data",
        "--- 10.0.0.2 ping statistics ---",
        "2 packets transmitted",
        "rtt min/avg/max/mdev = 20.000/20.000/20.000/0.000 ms",
    ]


@pytest.mark.parametrize("name", ["ping", "ping2"])
def test_ping_of_nobody_says_so_and_ends_with_1(shell, name):
    shell.ok("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev mem0")
    status, out, _ = shell.run(f"{name} -c 1 -W 0.2 10.0.0.9")
    assert status == 1
    assert "no answer: icmp_seq=1\n" in out
    assert "1 packets transmitted, 0 received, 100% packet loss, time 200ms" in out


@pytest.mark.parametrize("name", ["ping", "ping2"])
def test_ping_with_an_icmp_error_names_who_said_it(shell, name):
    shell.ok("ip route add 10.9.0.0/16 via 10.0.0.2")
    shell.other.net.config.ip.forward = True
    status, out, _ = shell.run(f"{name} -c 1 10.9.0.9")
    assert status == 1
    assert "icmp_seq=1 " in out
    assert "(from 10.0.0.2)" in out
    assert "+1 errors" in out
    assert "(from 10.0.0.2)" in shell.run(f"{name} -c 1 -t 1 10.9.0.9")[1]


@pytest.mark.parametrize("name", ["ping", "ping2"])
def test_ping_ends_at_ctrl_c_with_its_summary(shell, name):
    shell.interrupt_after(2_500)
    status, out, err = shell.run(f"{name} 10.0.0.2")
    assert (status, err) == (0, "")
    assert "3 packets transmitted, 3 received" in out
    assert shell.stack.net.icmp.endpoints == {}
    assert not any(shell.stack.net.raw.endpoints.values())


def test_ping_of_65000_octets_and_of_ourselves(shell):
    for target in ("10.0.0.2", "10.0.0.1", "127.0.0.1", "127.1.2.3", "localhost"):
        assert "65008 bytes from" in shell.ok(f"ping -c 1 -s 65000 {target}")


def test_arping_times_each_answer_whatever_the_cache_says(shell):
    for _ in range(2):
        assert shell.ok("arping -c 2 10.0.0.2").splitlines() == [
            "ARPING 10.0.0.2 from 10.0.0.1 mem0",
            "Unicast reply from 10.0.0.2 [02:00:00:00:00:02]  20.000ms",
            "Unicast reply from 10.0.0.2 [02:00:00:00:00:02]  20.000ms",
            "Sent 2 probes (2 broadcast(s))",
            "Received 2 response(s)",
        ]
    assert shell.stack.net.taps == []


def test_arping_of_nobody_ends_with_1_at_its_limit(shell):
    began = shell.simulation.now
    assert shell.run("arping -w 2.5 10.0.0.9")[0] == 1
    assert shell.simulation.now - began == 2_500_000_000
    assert "Sent 3 probes" in shell.out


def test_arping_probe_says_whether_an_address_is_taken(shell):
    status, out, _ = shell.run("arping -D -c 3 10.0.0.2")
    assert (status, "from 0.0.0.0" in out, "Sent 1 probes" in out) == (1, True, True)
    assert shell.run("arping -D -c 2 10.0.0.9")[0] == 0


def test_arping_announces_an_address_of_ours(shell):
    shell.ok("arping -U -c 1 -I mem0 10.0.0.1")
    assert shell.other.net.counters["arp.in.request"] == 1


@pytest.fixture
def routed(shell):
    """10.1.0.2 is behind 10.0.0.2, which is a router then."""
    a, b = MemoryLink.pair(("far0", "mem0"), (b"\2\0\0\0\0\3", b"\2\0\0\0\0\4"), delay=10_000_000)
    far = Stack("10.1.0.2/24", link=b, gateway="10.1.0.1", simulation=shell.simulation, seed=3)
    shell.other.attach(a, "10.1.0.1/24")
    shell.other.net.config.ip.forward = True
    shell.ok("ip route add default via 10.0.0.2; ping -c 1 10.1.0.2")
    shell.far = far
    yield shell
    far.close()


@pytest.fixture
def web_server(routed):
    """A listener on port 8080 of the far stack."""
    with routed.far.driver.entered() as net:
        return net.tcp.listen(b"\0\0\0\0", 8080, 5)


@pytest.mark.parametrize("how", ["", "-I ", "-T "])
def test_traceroute_names_each_hop(routed, how):
    assert routed.ok(f"traceroute {how}10.1.0.2").splitlines() == [
        "traceroute to 10.1.0.2 (10.1.0.2), 30 hops max, 60 byte packets",
        " 1  10.0.0.2  20.000 ms  20.000 ms  20.000 ms",
        " 2  10.1.0.2  40.000 ms  40.000 ms  40.000 ms",
    ]


@pytest.mark.parametrize("how", ["", "-I ", "-T "])
def test_traceroute_marks_what_cannot_be_reached(routed, how):
    text = routed.ok(f"traceroute {how}-q 1 10.7.0.1")
    assert " 2  10.0.0.2  20.000 ms !N" in text


def test_traceroute_of_silence_shows_stars_and_ends_with_1(shell):
    shell.ok("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev mem0")
    status, out, _ = shell.run("traceroute -m 2 -w 0.1 10.0.0.9")
    assert (status, out.splitlines()[1:]) == (1, [" 1  * * *", " 2  * * *"])


def test_traceroute_ends_at_ctrl_c(shell):
    shell.ok("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev mem0")
    shell.interrupt_after(1_500)
    assert shell.run("traceroute 10.0.0.9")[0] == 130
    assert shell.stack.net.udp.endpoints == []
    assert not any(shell.stack.net.raw.endpoints.values())


def test_traceroute_by_syns_reaches_a_port_that_listens_and_leaves_no_connection(routed, web_server):
    told = routed.ok("traceroute -T -p 8080 -q 2 10.1.0.2")
    assert told.splitlines()[1:] == [" 1  10.0.0.2  20.000 ms  20.000 ms", " 2  10.1.0.2  40.000 ms  40.000 ms"]
    assert routed.json("ss -tan") == []
    routed.simulation.run(routed.simulation.now + 1_000_000_000)
    assert not web_server.half_open


def test_traceroute_reads_a_quote_of_eight_octets(routed):
    """RFC 792's least; and what quotes somebody else's packet is no answer."""

    def short(packet):
        error = packet[ICMP]
        if error.type != 11:
            return None
        quote = bytes(error.payload)
        told = IP(src=packet.src, dst=packet.dst) / ICMP(type=11) / quote[:28]
        cut.append(told)
        other = IP(src="10.9.9.9", dst=packet.dst) / ICMP(type=11) / (quote[:20] + b"\0\1" + quote[22:24] + bytes(4))
        return [other, told]

    cut = []
    routed.other.hook("tx", "ip", filter="icmp")(short)
    for how in ("", "-I", "-T"):
        assert " 1  10.0.0.2  20.000 ms\n" in routed.ok(f"traceroute {how} -q 1 10.1.0.2")
    assert len(cut) == 3
