"""`ip`, the tables of tapip's shell, `set` and `sysctl`: what they show and what they change."""

import pytest


def test_ip_addr_shows_adds_and_deletes_in_iproute2s_words(shell):
    shell.ok("ip addr add 10.1.0.1/16 dev mem0")
    assert shell.ok("ip a").splitlines() == [
        "0: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN",
        "    link/loopback 00:00:00:00:00:00",
        "    inet 127.0.0.1/8 scope host lo",
        "1: mem0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP",
        "    link/ether 02:00:00:00:00:01",
        "    inet 10.0.0.1/24 brd 10.0.0.255 scope global mem0",
        "    inet 10.1.0.1/16 brd 10.1.255.255 scope global mem0",
    ]
    shell.ok("ip addr del 10.1.0.1/16 dev mem0")
    assert "10.1.0.1" not in shell.ok("ip addr show dev mem0")


def test_ip_addr_as_json_has_iproute2s_names(shell):
    (found,) = shell.json("ip addr show mem0")
    assert found["ifname"] == "mem0"
    assert found["addr_info"] == [
        {"family": "inet", "local": "10.0.0.1", "prefixlen": 24, "broadcast": "10.0.0.255", "scope": "global"}
    ]
    assert shell.ok("ip -j addr show mem0") == shell.ok("ip addr show mem0 --json")


def test_ip_addr_flush_takes_addresses_and_routes(shell):
    shell.ok("ip addr flush mem0")
    assert "inet" not in shell.ok("ip addr show mem0")
    assert shell.ok("ip route") == ""


def test_ip_link_set_down_takes_the_interface_out_of_use(shell):
    shell.ok("ping -c 1 10.0.0.2")
    shell.ok("ip link set dev mem0 down")
    assert "<BROADCAST,MULTICAST> mtu 1500 state DOWN" in shell.ok("ip link show mem0")
    assert "Network is unreachable" in shell.run("ping -c 1 10.0.0.2")[1]
    shell.ok("ip link set mem0 up mtu 600")
    assert "mtu 600 state UP" in shell.ok("ip link show mem0")
    shell.ok("ping -c 1 -s 1200 10.0.0.2")
    assert shell.json("ip -s link show mem0")[0]["stats64"]["tx"]["packets"] == 2 + 3


def test_ip_link_set_address_is_what_neighbours_learn(shell):
    shell.ok("ip link set mem0 address 02:00:00:00:00:77; ping -c 1 10.0.0.2")
    (entry,) = shell.other.net.arp.entries()
    assert entry.mac.hex(":") == "02:00:00:00:00:77"


def test_ip_link_del_takes_it_away(shell):
    shell.ok("ip link del mem0")
    assert "mem0" not in shell.ok("ip link; ip route")
    assert list(shell.stack.driver.links) == []


def test_ip_route_adds_replaces_gets_and_flushes(shell):
    shell.ok("ip route add default via 10.0.0.2; ip route add 10.9.0.0/16 via 10.0.0.3 metric 5")
    assert shell.ok("ip route").splitlines() == [
        "default via 10.0.0.2 dev mem0",
        "10.0.0.0/24 dev mem0 proto kernel scope link src 10.0.0.1",
        "10.9.0.0/16 via 10.0.0.3 dev mem0 metric 5",
    ]
    assert shell.ok("ip route get 10.9.1.1") == "10.9.1.1 via 10.0.0.3 dev mem0 src 10.0.0.1 mtu 1500\n"
    shell.ok("ip route replace 10.9.0.0/16 via 10.0.0.4 metric 5")
    assert shell.json("ip route get 10.9.1.1")[0]["gateway"] == "10.0.0.4"
    assert shell.json("ip route")[0] == {"dst": "default", "gateway": "10.0.0.2", "dev": "mem0", "flags": []}
    shell.ok("ip route del default")
    assert shell.bad("ip route get 8.8.8.8", 1) == "ip: Network is unreachable\n"
    shell.ok("ip route flush")
    assert shell.ok("ip route") == "10.0.0.0/24 dev mem0 proto kernel scope link src 10.0.0.1\n"


def test_ip_neigh_shows_what_arp_learned_and_takes_entries_by_hand(shell):
    shell.ok("ping -c 1 10.0.0.2; ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev mem0")
    assert shell.ok("ip neigh").splitlines() == [
        "10.0.0.2 dev mem0 lladdr 02:00:00:00:00:02 REACHABLE",
        "10.0.0.9 dev mem0 lladdr 02:00:00:00:00:99 PERMANENT",
    ]
    assert "is there already" in shell.bad("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:98 dev mem0")
    shell.ok("ip neigh replace 10.0.0.9 lladdr 02:00:00:00:00:98 dev mem0")
    shell.ok("ip neigh flush")
    assert shell.json("ip neigh") == [
        {"dst": "10.0.0.9", "dev": "mem0", "lladdr": "02:00:00:00:00:98", "state": ["PERMANENT"]}
    ]
    shell.ok("ip neigh del 10.0.0.9 dev mem0")
    assert shell.ok("ip neigh") == ""


def test_arpcache_shows_states_and_what_is_left_of_them(shell):
    shell.ok("ping -c 1 10.0.0.2")
    shell.run("ping -c 1 -W 9 10.0.0.3")
    assert shell.ok("arpcache").splitlines() == [
        "State      Timeout  HWaddress          Address   Iface",
        "reachable      595  02:00:00:00:00:02  10.0.0.2  mem0",
        "failed           -  -                  10.0.0.3  mem0",
    ]
    assert [row["Address"] for row in shell.json("arp")] == ["10.0.0.2", "10.0.0.3"]


def test_route_shows_the_table(shell):
    shell.ok("ip route add default via 10.0.0.2; ip route add 10.9.0.9/32 via 10.0.0.3")
    assert shell.ok("route").splitlines() == [
        "Destination  Gateway   Genmask          Flags  Metric  Iface",
        "10.9.0.9     10.0.0.3  255.255.255.255  UGH         0  mem0",
        "10.0.0.0     *         255.255.255.0    U           0  mem0",
        "127.0.0.0    *         255.0.0.0        U           0  lo",
        "default      10.0.0.2  0.0.0.0          UG          0  mem0",
    ]


def test_ifconfig_shows_and_switches(shell):
    shell.ok("ping -c 1 10.0.0.2")
    assert shell.ok("ifconfig mem0").splitlines() == [
        "mem0: flags=<BROADCAST,MULTICAST,UP,LOWER_UP>  mtu 1500",
        "        inet 10.0.0.1/24  broadcast 10.0.0.255",
        "        ether 02:00:00:00:00:01",
        "        RX packets 2  bytes 140  dropped 0",
        "        TX packets 2  bytes 140  dropped 0",
    ]
    shell.ok("ifconfig mem0 down")
    assert shell.json("ifconfig mem0")[0]["operstate"] == "DOWN"
    shell.ok("ifconfig mem0 up")
    assert "127.0.0.1" in shell.ok("ifconfig")


def test_stat_counts_by_layer_and_reason(shell):
    shell.run("ping -c 1 10.0.0.2")
    assert shell.json("stat arp") == {"arp.in.reply": 1, "arp.out.request": 1}
    assert shell.ok("stat arp") == "arp:\n  1  in.reply\n  1  out.request\n"
    shell.stack.net.counters["ip.drop.checksum"] += 1_200
    assert "out.request  (Requests, probes and announcements sent)" in shell.ok("stat -v arp")
    assert shell.ok("stat -d") == "ip:\n  1,200  drop.checksum\n"


def test_stat_of_no_layer_is_one_line(shell):
    assert shell.bad("stat nosuch").startswith("stat: there is no layer 'nosuch'; one of: ")


def test_nstat_shows_what_moved_since_the_last_time(shell):
    shell.run("ping -c 1 10.0.0.2")
    assert shell.ok("nstat 'arp.*'") == "arp.in.reply     1\narp.out.request  1\n"
    assert shell.ok("nstat 'arp.*'") == ""
    shell.run("ip neigh flush dev mem0; ping -c 1 10.0.0.2")
    assert shell.json("nstat -s '*.reply'") == shell.json("nstat '*.reply'") == {"arp.in.reply": 1}
    assert shell.json("nstat -a '*.reply'") == {"arp.in.reply": 2}
    assert shell.ok("nstat -r") == ""
    assert shell.json("nstat -z 'tcp.segs_*'") == {"tcp.segs_in": 0, "tcp.segs_out": 0}


def test_set_shows_changes_and_takes_effect(shell):
    assert shell.ok("set tcp.congestion") == "tcp.congestion = cubic\n"
    shell.ok("set tcp.congestion reno")
    shell.ok("set ip.ttl=9 ip.forward=on")
    assert shell.json("set ip.ttl") == {"ip.ttl": 9}
    assert shell.ok("sysctl ip.forward; sysctl -n ip.forward") == "ip.forward = on\non\n"
    assert "ttl=64" in shell.ok("ping -c 1 10.0.0.2")
    seen = []
    shell.other.net.taps.append(lambda way, frame: seen.append((way, frame.packet)))
    shell.ok("ping -c 1 10.0.0.2")
    assert [packet.ttl for way, packet in seen if way == "rx"] == [9]
    assert shell.stack.net.tcp.config.congestion == "reno"


def test_set_alone_shows_every_setting(shell):
    names = shell.stack.net.config.names()
    assert [line.partition(" = ")[0] for line in shell.ok("set").splitlines()] == names
    assert list(shell.json("sysctl -a")) == names
    assert list(shell.json("set udp")) == [name for name in names if name.startswith("udp.")]


def test_sysctl_writes_and_says_what_is_now(shell):
    assert shell.ok("sysctl -w tcp.msl_ms=5000 ip.ttl=7") == "ip.ttl = 7\ntcp.msl_ms = 5000\n"


@pytest.mark.parametrize("line", ["set ip.ttl=5 tcp.min_rto_ms=0", "set udp.ephemeral_low=60_000 udp.ephemeral_high=9"])
def test_set_of_several_changes_all_or_none(shell, line):
    before = shell.json("set")
    shell.bad(line)
    assert shell.json("set") == before


def test_ip_oneline_has_a_line_for_each_address_link_and_route(shell):
    shell.ok("ip addr add 10.0.0.9/24 dev mem0")
    assert shell.ok("ip -o addr show mem0").splitlines() == [
        "1: mem0    inet 10.0.0.1/24 brd 10.0.0.255 scope global mem0",
        "1: mem0    inet 10.0.0.9/24 brd 10.0.0.255 scope global mem0",
    ]
    lines = shell.ok("ip -o -s link").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["0", "1"]
    assert all("state" in line and "\\    link/" in line and "\\    TX:" in line for line in lines)
    assert shell.ok("ip -o route") == shell.ok("ip route")


def test_habits_of_the_fingers_are_understood(shell):
    assert shell.ok("ip -4 -br addr").splitlines() == [
        "lo               UNKNOWN        127.0.0.1/8",
        "mem0             UP             10.0.0.1/24",
    ]
    assert shell.ok("ip -br link show mem0") == (
        "mem0             UP             02:00:00:00:00:01 <BROADCAST,MULTICAST,UP,LOWER_UP>\n"
    )
    assert shell.ok("route -n") == shell.ok("route")
    assert shell.ok("arp -n") == shell.ok("arpcache")
    assert shell.ok("ifconfig -a") == shell.ok("ifconfig")
    shell.ok("ip route add 10.5.0.0/16 via 10.0.0.2; ip route add 10.6.0.0/16 via 10.0.0.2; ip route flush 10.5.0.0/16")
    assert [row["dst"] for row in shell.json("ip route") if "gateway" in row] == ["10.6.0.0/16"]
    shell.ok("ip route flush all; ping -c 1 10.0.0.2; ip neigh flush all")
    assert [row for row in shell.json("ip route") if "gateway" in row] == shell.json("ip neigh") == []
