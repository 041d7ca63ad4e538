"""Networks: what is built in a few lines works, is routed, runs in no time, and says what was still open."""

import asyncio
import io
from functools import partial

import pytest

from scapystack.base.addr import ip
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError
from scapystack.link.pcapfile import INBOUND, OUTBOUND
from scapystack.link.pcapread import read_capture
from scapystack.sim import Network


def echo(host, port=7):
    """Send back what one client sends."""
    with host.create_server(("", port)) as server:
        sock, _ = server.accept()
        with sock:
            while data := sock.recv(65_536):
                sock.sendall(data)


def ask(host, address, *questions, port=7):
    """Each question and its answer, with a second between them."""
    answers = []
    with host.create_connection((address, port)) as sock:
        for question in questions:
            sock.sendall(question)
            answers.append(sock.recv(65_536))
            host.sleep(1)
    return answers


@pytest.fixture
def pair():
    """Two hosts 10 ms apart."""
    with Network(seed=1) as net:
        a, b = net.host("a"), net.host("b")
        net.link(a, b, delay_ms=10)
        yield net, a, b


def test_programs_talk_and_the_run_ends_with_nothing_open(pair):
    net, a, b = pair
    server = b.spawn(echo)
    client = a.spawn(ask, b.address, b"one", b"two")
    report = net.run()
    assert (server.done, client.done, client.result()) == (True, True, [b"one", b"two"])
    assert (report.why, report.open) == ("idle", ())
    assert 60 < report.time < 70  # TIME-WAIT
    assert str(report).endswith("nothing was left to happen; nothing is open")


def test_addresses_are_given_in_order_and_may_be_chosen():
    with Network() as net:
        a, b, c = net.host(), net.host(), net.host()
        net.link(a, b)
        net.link(b, c, addresses=("192.0.2.6/29", "192.0.2.1/29"), macs=("02:00:00:00:00:77", None))
        assert (a.name, a.address, b.address, c.address) == ("h1", "10.0.1.1", "10.0.1.2", "192.0.2.1")
        assert b.ping("192.0.2.1").rtt_ms == 0
        assert c.net.arp.lookup(c.net.interfaces[1], bytes([192, 0, 2, 6])).mac == bytes.fromhex("020000000077")


def test_routers_have_the_shortest_way_and_hosts_a_default_route():
    """A ring of four routers, a host at each: two hops at most between them."""
    with Network() as net:
        routers = [net.router(f"r{n}") for n in range(4)]
        hosts = [net.host(f"h{n}") for n in range(4)]
        for n in range(4):
            net.link(routers[n], routers[(n + 1) % 4], delay_ms=10)
        for host, router in zip(hosts, routers, strict=True):
            net.link(host, router, delay_ms=1)
        for n, host in enumerate(hosts[1:], 1):
            hosts[0].ping(host.address)  # ARP on the way
            reply = hosts[0].ping(host.address)
            hops = min(n, 4 - n)
            assert (reply.rtt_ms, reply.ttl) == (2 * (2 + 10 * hops), 63 - hops)


def test_routes_are_left_to_you_if_you_want():
    with Network(routes=False) as net:
        a, r, b = net.host("a"), net.router("r"), net.host("b")
        net.link(a, r)
        net.link(r, b)
        with pytest.raises(OSError, match="unreachable"):
            a.ping(b.address)
        a.net.add_route("default", via="10.0.1.2")
        b.net.add_route("default", via="10.0.2.1")
        assert a.ping(b.address).ttl == 63


def test_segment_of_many_carries_every_frame_to_everybody():
    with Network() as net:
        hosts = [net.host() for _ in range(4)]
        net.link(*hosts, delay_ms=5)
        for other in hosts[1:]:
            assert hosts[0].ping(other.address).rtt_ms == 20
            assert hosts[0].ping(other.address).rtt_ms == 10
        assert hosts[3].net.counters["ethernet.drop.not_ours"] >= 2


def test_path_mtu_is_found_through_a_router():
    with Network() as net:
        a, r, b = net.host("a"), net.router("r"), net.host("b")
        net.link(a, r)
        net.link(r, b, mtu=600)
        b.spawn(echo)
        text = bytes(range(256)) * 40
        with a.create_connection((b.address, 7)) as sock:
            sock.sendall(text)
            got = b""
            while len(got) < len(text):
                got += sock.recv(65_536)
        assert got == text
        assert b.net.interfaces[1].mtu == 600


def test_hosts_have_configurations_of_their_own():
    with Network() as net:
        config = StackConfig()
        config.tcp.sack = False
        a = net.host("a", config)
        b = net.host("b", {"tcp.congestion": "bbr", "tcp.sack": False, "ip.ttl": 9})
        assert (a.net.config.tcp.sack, b.net.config.tcp.congestion, b.net.config.ip.ttl) == (False, "bbr", 9)
        with pytest.raises(ConfigError, match=r"no setting named 'tcp\.sock'"):
            net.host("c", {"tcp.sock": 1})


def test_hosts_share_no_configuration_with_a_router_that_was_given_the_same():
    with Network() as net:
        config = StackConfig()
        a, r = net.host("a", config), net.router("r", config)
        assert (a.net.config.ip.forward, r.net.config.ip.forward, config.ip.forward) == (False, True, False)


def test_what_cannot_be_is_one_clear_line():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        with pytest.raises(ConfigError, match="there is a a in this network already"):
            net.port("a")
        with pytest.raises(ConfigError, match="two members or more"):
            net.link(a)
        with pytest.raises(ConfigError, match="one address for each of 2 members, not 1"):
            net.link(a, b, addresses=("10.0.0.1/24",))
        with pytest.raises(ConfigError, match="loss is a chance"):
            net.link(a, b, loss=2)
        with pytest.raises(LookupError, match="put it on a link"):
            _ = a.address


def test_known_neighbours_need_no_arp():
    with Network() as net:
        a, b = net.host("a"), net.host("b")
        net.link(a, b, delay_ms=10, arp=False)
        assert a.ping(b.address).rtt_ms == 20


def test_times_are_seconds_since_the_beginning(pair):
    net, _, _ = pair
    seen = []
    net.at(2.5, lambda: seen.append(net.time))
    net.at(1, lambda: seen.append(net.time)).cancel()
    assert net.run(4).time == 4
    assert (seen, net.time, net.seconds(net.now), net.at_ns(4)) == ([2.5], 4, 4, net.now)
    net.sleep(0.25)
    assert net.time == 4.25


def test_run_until_stops_at_once_and_says_what_is_open_if_it_never_comes(pair):
    net, a, b = pair
    b.spawn(echo)
    client = a.spawn(ask, b.address, b"question")
    net.at(0.5, lambda: None)
    report = net.run_until(lambda: net.time >= 0.5)
    assert not client.done
    assert (report.why, report.open[1].startswith("a: program ask at test_network.py:")) == ("condition", True)
    with pytest.raises(TimeoutError, match=r"did not come within 2 s\n(.|\n)*a: TCP .* TIME-WAIT$"):
        net.run_until(lambda: False, within=2)
    assert net.time == 2.5
    assert client.done
    with pytest.raises(TimeoutError):
        net.run_until(lambda: False)  # nothing is left to happen


def test_report_names_programs_connections_endpoints_and_frames(pair):
    net, a, b = pair

    def wait_for_ever(host):
        host.create_server(("", 80)).accept()

    line = wait_for_ever.__code__.co_firstlineno + 1
    b.spawn(wait_for_ever)
    b.spawn(echo, at=100)
    udp = a.socket(type=2)
    udp.bind(("", 53))
    with a.create_connection((b.address, 80)) as sock:
        sock.send(b"text")
        report = net.report()
    assert report.open == (
        f"b: program wait_for_ever at test_network.py:{line} in wait_for_ever",
        "b: program echo has not begun",
        f"a: TCP 10.0.1.1:{sock_port(report)} > 10.0.1.2:80 ESTABLISHED, 4 octets not acknowledged",
        "a: UDP *:53",
        f"b: TCP 10.0.1.2:80 > 10.0.1.1:{sock_port(report)} SYN-RECEIVED",
        "b: TCP *:80 LISTEN",
        "a-b: 2 frames under way",
    )
    udp.close()


def test_report_names_raw_sockets_pings_and_packets_that_wait(pair):
    net, a, b = pair
    raw = b.socket(type=3, proto=253)
    udp = b.socket(type=2)
    udp.bind(("", 9))
    with a.driver.entered() as stack:
        ping = stack.icmp.open()
    a.net.arp.add_static(a.net.interfaces[1], ip(b.address), b.ends[0].mac)
    sender = a.socket(type=2)
    a.ends[0].link.way(a).lose(3)  # the second fragment
    sender.sendto(b"x", (b.address, 9))
    sender.sendto(bytes(2000), (b.address, 9))
    sender.sendto(b"x", ("10.0.1.77", 9))
    report = net.run(0.5)
    assert report.open == (
        f"a: UDP *:{sender.getsockname()[1]}",
        f"a: ping identifier {ping.ident}",
        "a: 1 packet waiting for the hardware address of 10.0.1.77",
        "b: UDP *:9, unread",
        "b: raw protocol 253",
        "b: 1 datagram lacking fragments",
    )
    for each in (raw, udp, sender):
        each.close()


def sock_port(report):
    return report.open[2].split(" > ")[0].rpartition(":")[2]


def test_error_of_a_program_is_raised_when_it_happens(pair):
    net, a, _ = pair

    def fail(host):
        host.sleep(3)
        raise ValueError("no")

    app = a.spawn(fail)
    with pytest.raises(ValueError, match="no"):
        net.run()
    assert (net.time, app.done) == (3, True)
    with pytest.raises(ValueError, match="no"):
        app.result()


def test_result_waits_for_the_program(pair):
    net, a, _ = pair
    app = a.spawn(lambda host: host.sleep(5) or "slept", at=2)
    assert (app.done, app.result(), net.time) == (False, "slept", 7)
    stuck = a.spawn(lambda host: host.create_server(("", 1)).accept())
    with pytest.raises(OSError, match="nobody will ever wake"):
        stuck.result()
    assert "on a test_network.py:" in repr(stuck)


def test_coroutines_and_blocking_programs_share_a_network(pair):
    net, a, b = pair

    async def serve(host):
        done = asyncio.Event()

        async def session(reader, writer):
            while line := await reader.readline():
                await asyncio.sleep(0.5)
                writer.write(line.upper())
            writer.close()
            done.set()

        await host.asyncio().start_server(session, "", 7)
        await done.wait()
        return net.time

    async def tick(host, times):
        for _ in range(3):
            await asyncio.sleep(1)
            times.append(net.time)

    times = []
    served = b.spawn(serve)
    b.spawn(tick, times)
    client = a.spawn(ask, b.address, b"one\n", b"two\n")
    net.run(10)
    assert client.result() == [b"ONE\n", b"TWO\n"]
    assert times == [1, 2, 3]
    assert served.result() == pytest.approx(3.09)


def test_close_closes_captures_where_a_program_raises_on_its_way_out(pair, tmp_path):
    net, a, b = pair
    capture = net.capture(tmp_path / "all.pcapng")
    closed = []
    for each in (b, capture):
        each.close = partial(lambda close, each: (closed.append(each), close()), each.close, each)

    def wait(host):
        try:
            host.sleep(5)
        finally:
            raise ValueError("mine")

    a.spawn(wait)
    net.run(1)
    with pytest.raises(ValueError, match="mine"):
        net.close()
    assert closed == [b, capture]


def test_close_ends_a_coroutine_session_without_a_word(pair, caplog):
    """asyncio in itself, as of 3.12.1, logs a callback of its own that raises, for each session that is cancelled."""
    net, a, b = pair
    ends = []

    async def serve(host):
        async def session(reader, writer):
            try:
                await reader.read()
            finally:
                ends.append(writer)

        await host.asyncio().start_server(session, "", 7)
        await asyncio.Event().wait()

    b.spawn(serve)
    a.spawn(lambda host: host.create_connection((b.address, 7)).recv(1))
    net.run(1)
    assert ends == []
    net.close()
    assert [writer.is_closing() for writer in ends] == [True]
    assert caplog.text == ""


def test_close_ends_programs_and_what_they_hold(pair):
    net, a, b = pair
    seen = []

    def wait(host):
        try:
            host.create_server(("", 80)).accept()
        finally:
            seen.append(host.name)

    b.spawn(wait)
    net.run()
    net.close()
    assert seen == ["b"]
    with pytest.raises(OSError, match="down"):
        a.socket()


# -- the same again -----------------------------------------------------------------------------------------


def conversation(seed):
    """A transfer over two bad links through a router: the capture of everything, octet for octet."""
    file = io.BytesIO()
    with Network(seed=seed) as net:
        a, r, b = net.host("a"), net.router("r"), net.host("b")
        bad = {"loss": 0.05, "duplicate": 0.05, "reorder": 0.05, "corrupt": 0.03, "jitter_ms": 3}
        net.link(a, r, delay_ms=2, **bad)
        net.link(r, b, delay_ms=5, rate=1_000_000, queue_frames=20, **bad)
        net.capture(file)
        b.spawn(echo)
        with a.create_connection((b.address, 7)) as sock:
            sock.sendall(bytes(range(256)) * 300)
            got = 0
            while got < 76_800:
                got += len(sock.recv(10_000))
        report = net.run()
    return file.getvalue(), report


def test_same_seed_gives_the_same_capture_byte_for_byte():
    first = conversation(3)
    assert first == conversation(3)
    assert first[0] != conversation(4)[0]
    assert len(first[0]) > 200_000


def test_an_hour_of_idle_keepalives_is_a_handful_of_events(pair):
    net, a, b = pair
    server = b.create_server(("", 7))
    sock = a.create_connection((b.address, 7))
    sock.setsockopt(1, 9, 1)  # SO_KEEPALIVE
    sock.setsockopt(6, 4, 60)  # TCP_KEEPIDLE
    sock.setsockopt(6, 5, 60)  # TCP_KEEPINTVL
    accepted, _ = server.accept()
    steps = 0
    while net.time < 3600:
        assert net.simulation.step()
        steps += 1
    assert a.net.counters["tcp.keepalive_probes"] in (59, 60)
    assert steps < 60 * 5
    for each in (sock, accepted, server):
        each.close()


# -- captures -----------------------------------------------------------------------------------------------


def test_capture_of_a_link_has_each_frame_once_and_says_what_was_lost(pair, tmp_path):
    net, a, b = pair
    link = net.links[0]
    link.way(a).lose(2)
    link.way(b).duplicate = 1.0
    net.capture(tmp_path / "link.pcapng", at=link)
    with pytest.raises(TimeoutError):
        a.ping(b.address)
    net.run(1)
    net.close()
    packets = read_capture(tmp_path / "link.pcapng")
    assert [(p.interface, p.comment, (p.at - net.at_ns(0)) // 1_000_000) for p in packets] == [
        ("a.eth0", "", 0),
        ("b.eth0", "2 times", 10),
        ("a.eth0", "lost", 20),
    ]


def test_capture_at_a_host_has_what_leaves_and_what_arrives(pair, tmp_path):
    net, a, b = pair
    net.capture(tmp_path / "b.pcapng", at=b)
    a.ping(b.address)
    net.close()
    packets = read_capture(tmp_path / "b.pcapng")
    assert [(p.interface, p.direction, (p.at - net.at_ns(0)) // 1_000_000) for p in packets] == [
        ("b.eth0", INBOUND, 10),
        ("b.eth0", OUTBOUND, 10),
        ("b.eth0", INBOUND, 30),
        ("b.eth0", OUTBOUND, 30),
    ]
