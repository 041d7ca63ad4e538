"""`ss`, `conn`, `top`, `nc`, `snc`, `curl`: connections seen, picked, ended and talked over, in virtual time."""

import re
import socket

import pytest

from scapystack.sockets.services import start_services

PEER = "10.0.0.2"


@pytest.fixture
def client(shell, services):
    """A connection of ours to the other stack's echo, with something said over it."""
    sock = shell.stack.create_connection((PEER, 7))
    sock.sendall(b"hello")
    assert sock.recv(9) == b"hello"
    yield sock
    sock.close()


# -- ss


def test_ss_shows_connections_in_its_columns(shell, client):
    port = client.getsockname()[1]
    assert shell.ok("ss -tn").splitlines() == [
        "State  Recv-Q  Send-Q  Local Address:Port  Peer Address:Port",
        f"ESTAB  0       0       10.0.0.1:{port}      10.0.0.2:7",
    ]
    assert shell.ok("ss -tnH").count("\n") == 1


def test_ss_all_kinds_listening_and_who_holds_them(shell, client):
    server = shell.stack.create_server(("", 80), backlog=5)
    shell.stack.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("", 5353))
    raw = shell.stack.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    lines = [line.split() for line in shell.ok("ss -anp").splitlines()[1:]]
    assert lines[0][:6] == ["raw", "UNCONN", "0", "0", "0.0.0.0:1", "0.0.0.0:*"]
    assert ["tcp", "LISTEN", "0", "5", "0.0.0.0:80", "0.0.0.0:*"] in [line[:6] for line in lines]
    assert [line[6:] for line in lines if line[1] == "ESTAB"] == [['users:(("socket"))']]
    assert [line.split()[:4] for line in shell.ok("ss -ltnH").splitlines()] == [["LISTEN", "0", "5", "0.0.0.0:80"]]
    server.close()
    raw.close()


def test_ss_names_the_service_that_holds_a_connection(shell):
    (echo,) = start_services(shell.stack, "echo")
    peer = shell.other.create_connection(("10.0.0.1", 7))
    peer.sendall(b"x")
    assert peer.recv(1) == b"x"
    assert 'users:(("echo"))' in shell.ok("ss -tp")
    peer.close()
    echo.close()


def test_ss_info_timers_and_variables(shell, client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    text = shell.ok("ss -tieo")
    assert "timer:(keepalive,119min,0)" in text or "timer:(keepalive,120min,0)" in text
    assert re.search(r"ts sack cubic wscale:7,7 rto:[0-9.]+ rtt:37.5/", text)
    assert "bytes_sent:5 bytes_acked:5 bytes_received:5" in text
    info = client.endpoint.info()
    assert f"snd_una:{info.snd_una} snd_nxt:{info.snd_nxt}" in text
    (row,) = shell.json("ss -tio")
    assert row["info"]["bytes_acked"] == 5
    assert row["timer"]["name"] == "keepalive"
    client.sendall(b"more")
    assert "timer:(on," in shell.ok("ss -to")


FILTERS = {
    "dst 10.0.0.2": 2, "dst 10.0.0.3": 0, "dst 10.0.0.2:7": 1, "dport = :7": 1, "dport :9": 1, "src :7": 0,
    "state established": 2, "state time-wait": 0, "state connected dport = :9 and dst 10.0.0.2": 1, "state all": 2,
    "( dport = :7 or sport = :7 )": 1, "dport = :7 or dport = :9": 2, "not dport = :7": 1,
    "'(dport = :7 or sport = :7)'": 1, "dport != :9 dst 10.0.0.2": 1,
    "dst 10.0.0.2 and not ( dport = :7 or dport = :9 )": 0, "dst 10.0.0.2: state established": 2,
}  # fmt: skip


@pytest.mark.parametrize("words", FILTERS)
def test_ss_filter_picks(shell, client, words):
    other = shell.stack.create_connection((PEER, 9))
    assert shell.ok(f"ss -tH {words}").count("\n") == FILTERS[words]
    other.close()


def test_ss_kill_resets_those_that_are_picked_alone(shell, client):
    other = shell.stack.create_connection((PEER, 9))
    assert shell.ok("ss -KtH dport = :7").count("ESTAB") == 1
    assert [row["peer"] for row in shell.json("ss -t")] == ["10.0.0.2:9"]
    with pytest.raises(ConnectionAbortedError):
        client.recv(1)
    shell.simulation.run_for(50_000_000)
    assert len(shell.other.net.tcp.connections) == 1
    assert shell.run("ss -Kt dport = :7")[0] == 1
    other.close()


def test_ss_kill_ends_a_listener_and_a_udp_port(shell):
    server = shell.stack.create_server(("", 80))
    shell.ok("ss -K state listening src :80")
    assert shell.json("ss -ltn") == []
    server.close()


def test_ss_memory_and_one_line_for_each(shell, client):
    client.send(b"x" * 9_000)
    text = shell.ok("ss -tmH")
    assert text.splitlines()[1] == "\t skmem:(r0,rb4194304,t8688,tb4194304,w9000)"
    with shell.stack.create_server(("", 80)), shell.stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("", 81))
        assert [row["skmem"]["r"] for row in shell.json("ss -tuam")] == [0, 0, 0]
    (line,) = shell.ok("ss -tiemOH").splitlines()
    assert all(word in line for word in ("ESTAB", " skmem:(", " iss:", " cwnd:10"))
    assert shell.json("ss -tm")[0]["skmem"]["w"] == 9_000


def test_ss_of_kinds_that_a_stack_has_not_is_empty(shell, client):
    assert shell.json("ss -xa") == shell.json("ss -6a") == []
    assert len(shell.json("ss -xt")) == len(shell.json("ss -46t")) == 1


def test_ss_summary_counts(shell, client):
    shell.ok("ping -c 1 10.0.0.2")
    assert shell.ok("ss -s").startswith("TCP:   1 (estab 1; orphaned 0), listening 0\n")
    assert shell.json("ss -s")["states"] == {"ESTAB": 1}


# -- conn


def test_conn_lists_picks_shows_and_keeps_its_numbers(shell, client):
    other = shell.stack.create_connection((PEER, 9))
    rows = shell.json("conn")
    assert [(row["No"], row["State"], row["Peer"]) for row in rows] == [
        (1, "ESTABLISHED", "10.0.0.2:7"), (2, "ESTABLISHED", "10.0.0.2:9"),
    ]  # fmt: skip
    assert "ESTABLISHED, round trip 37.500ms, sent 5, received 5 octets" in shell.ok("conn 1")
    shell.ok("conn 10.0.0.2:9")
    values = dict(line.split(None, 1) for line in shell.ok("conn show").splitlines())
    assert values["remote"] == "10.0.0.2:9"
    assert values["snd_cwnd"] == "10"
    client.close()
    shell.simulation.run_for(90_000_000_000)
    assert [row["No"] for row in shell.json("conn")] == [2]
    other.close()


def test_conn_close_and_abort_end_the_picked_one(shell, client):
    other = shell.stack.create_connection((PEER, 9))
    shell.ok("conn 1 abort")
    assert [row["No"] for row in shell.json("conn")] == [2]
    assert shell.session.picked is None
    shell.ok("conn 2; conn close")
    shell.simulation.run_for(100_000_000)
    assert shell.json("conn")[0]["State"] == "TIME-WAIT"
    shell.ok("conn none")
    assert "no connection is picked" in shell.bad("conn show")
    other.close()


# -- top


def test_top_shows_rates_since_the_last_look(shell, services):
    sock = shell.stack.create_connection((PEER, 19))
    sock.sendall(b"100000\n")
    shell.at(100, lambda: [sock.recv(65_536) for _ in range(4)])
    text = shell.ok("top -n 2 -d 1")
    first, second = (part for part in text.split("connections: ")[1:])
    assert first.splitlines()[0] == "1 ESTABLISHED"
    assert first.splitlines()[2].split()[:6] == ["No", "State", "Local", "Peer", "In/s", "Out/s"]
    assert first.splitlines()[3].split()[4:6] == ["0", "0"]
    assert second.splitlines()[3].split()[4:6] == ["100K", "7"]
    sock.close()


def test_top_as_json_is_one_look_with_rates(shell, services):
    sock = shell.stack.create_connection((PEER, 19))
    shell.at(100, lambda: sock.sendall(b"1000\n"))
    (row,) = shell.json("top")
    assert (row["peer"], row["in_per_s"], row["out_per_s"]) == ("10.0.0.2:19", 1000, 5)
    assert row["rtt_ms"] >= 20.0
    sock.close()


def test_top_ends_at_ctrl_c_and_redraws_on_a_terminal(shell, client):
    shell.interrupt_after(2_500)
    assert shell.run("top")[0] == 0
    assert shell.out.count("connections: 1 ESTABLISHED") == 3
    shell.session.out.terminal, shell.session.out.height = True, 4
    assert shell.ok("top -n 1").splitlines()[-2].endswith("\x1b[K")


def test_top_on_a_terminal_ends_with_q_and_looks_at_any_other_key(shell, client):
    shell.session.out.terminal = True
    keys = [b" ", b"q"]
    shell.session.wants_input = lambda: pytest.fail("lines were asked for")
    shell.session.wants_keys = lambda: shell.session.feed(keys.pop(0))
    assert shell.run("top -d 60")[0] == 0
    assert keys == []
    assert shell.out.count("connections: ") == 2


def test_top_of_a_terminal_without_input_goes_on(shell, client):
    shell.session.out.terminal = True
    shell.session.wants_keys = lambda: shell.session.feed(None)
    assert shell.ok("top -d 1 -n 3").count("connections: ") == 3


def test_top_is_drawn_anew_where_the_terminal_has_another_size(shell, client):
    shell.session.out.terminal = True
    shell.at(500, lambda: shell.session.resized(20, 3))
    shell.interrupt_after(600)
    assert shell.run("top -d 1")[0] == 0
    wide, narrow = shell.out.split("\x1b[J")[:2]
    assert len(wide.splitlines()) == 5
    lines = [line.removesuffix("\x1b[K") for line in narrow.removeprefix("\x1b[H").splitlines()]
    assert len(lines) == 2
    assert max(map(len, lines)) == 20


# -- nc, snc


@pytest.mark.parametrize("line", ["nc 10.0.0.2 7", "snc -c 10.0.0.2:7"])
def test_nc_sends_input_and_shows_what_comes_back(shell, services, line):
    given = [b"first\n", b"second\n", None]
    shell.session.wants_input = lambda: shell.session.feed(given.pop(0)) if given else None
    status, out, err = shell.run(line)
    assert (status, out, err) == (0, "first\nsecond\n", "connected to 10.0.0.2:7\n")
    shell.simulation.run_for(100_000_000)
    assert [c.state for c in shell.other.net.tcp.connections.values()] == []


@pytest.mark.parametrize("line", ["nc -l 12345", "snc -b 10.0.0.1:12345", "nc -l -p 12345"])
def test_nc_listens_and_ends_with_the_peer(shell, line):
    def talk():
        with shell.other.create_connection(("10.0.0.1", 12345)) as sock:
            sock.sendall(b"x" * 200_000)

    shell.at(100, talk)
    status, out, err = shell.run(line)
    assert (status, len(out)) == (0, 200_000)
    assert err.startswith("listening on ")
    assert "connection from 10.0.0.2:" in err
    assert shell.json("ss -ltn") == []


def test_nc_sends_much_no_faster_than_the_peer_reads(shell, services):
    asked = []
    given = iter([b"y" * 60_000] * 100)
    shell.session.wants_input = lambda: (asked.append(1), shell.session.feed(next(given, None)))
    received = []

    def read():
        server = shell.other.create_server(("", 5000))
        sock, _ = server.accept()
        while data := sock.recv(1 << 20):
            received.append(len(data))
        sock.close()
        server.close()

    shell.at(0, read)
    assert shell.run("nc 10.0.0.2 5000")[0] == 0
    assert sum(received) == 6_000_000


@pytest.mark.parametrize("last", [[None], []], ids=["ended", "silent"])
def test_nc_to_a_peer_that_ends_first_and_reads_on_sends_all_of_its_input(shell, last):
    given = [b"z" * 60_000] * 50 + last
    shell.session.wants_input = lambda: shell.session.feed(given.pop(0)) if given else None
    received = []

    def read():
        with shell.other.create_server(("", 5000)) as server:
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"bye\n")
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(1 << 20):
                    received.append(len(data))

    shell.at(0, read)
    assert shell.run("nc 10.0.0.2 5000")[:2] == (0, "bye\n")
    shell.simulation.run_for(1_000_000_000)
    assert sum(received) == 3_000_000


def test_nc_udp_both_roles(shell, services):
    given = [b"one\n", None]
    shell.session.wants_input = lambda: shell.session.feed(given.pop(0)) if given else None
    assert shell.run("nc -u 10.0.0.2 7")[:2] == (0, "one\n")

    def talk():
        with shell.other.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("10.0.0.1", 12345))
            sock.send(b"line 1\n")
            assert sock.recv(99) == b"two\n"

    given[:] = [b"two\n"]
    shell.at(100, talk)
    shell.interrupt_after(1_000)
    assert shell.run("snc -u -b 10.0.0.1:12345")[:2] == (130, "line 1\n")
    assert shell.json("ss -uan") == []


def test_snc_d_shows_packets_and_states(shell, services):
    shell.session.wants_input = lambda: shell.session.feed(None)
    status, out, _ = shell.run("snc -d -c 10.0.0.2:7")
    assert status == 0
    assert "SYN-SENT -> ESTABLISHED" in out
    assert "Flags [S]" in out
    assert shell.stack.net.taps == []
    assert shell.session.debug is None


def test_nc_z_says_whether_anybody_listens(shell, services):
    assert shell.run("nc -zv 10.0.0.2 7") == (0, "", "connected to 10.0.0.2:7\n")
    assert shell.bad("nc -zv 10.0.0.2 6", 1) == "nc: Connection refused\n"
    assert shell.json("ss -t") == []


def test_nc_refused_and_silent_are_one_line(shell):
    assert shell.bad("nc 10.0.0.2 81", 1) == "nc: Connection refused\n"
    shell.ok("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev mem0")
    assert "in time" in shell.bad("nc -w 2 10.0.0.9 81", 1)
    assert shell.json("ss -tan") == []


def test_nc_interrupted_resets_its_connection(shell, services):
    shell.interrupt_after(500)
    assert shell.run("nc 10.0.0.2 7")[0] == 130
    shell.simulation.run_for(100_000_000)
    assert shell.stack.net.tcp.connections == {}
    assert shell.other.net.tcp.connections == {}


# -- impair


def test_impair_delays_a_running_link_and_off_takes_it_away(shell):
    shell.ok("ping -c 1 10.0.0.2")
    assert "time=20.000 ms" in shell.ok("ping -c 1 10.0.0.2")
    shell.ok("impair mem0 delay 30ms")
    assert "time=80.000 ms" in shell.ok("ping -c 1 10.0.0.2")
    assert shell.ok("impair").splitlines() == [
        "mem0 in  delay 30ms; lost 0, marked 0 frames",
        "mem0 out delay 30ms; lost 0, marked 0 frames",
    ]
    shell.ok("impair mem0 in delay 0")
    assert "time=50.000 ms" in shell.ok("ping -c 1 10.0.0.2")
    shell.ok("impair mem0 off")
    assert "time=20.000 ms" in shell.ok("ping -c 1 10.0.0.2")
    assert shell.ok("impair") == "no link is impaired\n"
    assert type(shell.stack.driver.links[1]).__name__ == "MemoryLink"


def test_impair_loss_is_counted_and_off_lets_go_what_waited(shell):
    shell.ok("ping -c 1 10.0.0.2; impair mem0 out loss 100%")
    assert shell.run("ping -c 3 -W 0.1 10.0.0.2")[0] == 1
    assert shell.json("impair mem0")[1] == {
        "iface": "mem0", "way": "out", "set": {"loss": 1.0}, "lost": 3, "marked": 0,
    }  # fmt: skip
    shell.ok("impair mem0 out loss 0; impair mem0 in delay 5s")
    shell.at(200, lambda: shell.run("impair mem0 off"))
    with shell.stack.pinger() as pinger:
        assert pinger.ping(PEER, 1, timeout=1).rtt_ms == 200.0


def test_impair_rate_and_the_rest(shell):
    shell.ok("impair mem0 out rate 8mbit queue 50ms loss 1% burst 3 reorder 5% duplicate 0.02 corrupt 1% jitter 500us")
    told = shell.json("impair mem0")[1]["set"]
    assert told == {
        "loss": 0.01, "duplicate": 0.02, "reorder": 0.05, "corrupt": 0.01, "burst": 3.0, "jitter_ms": 0.5,
        "queue_ms": 50.0, "rate": 1_000_000,
    }  # fmt: skip
    words = "loss 1% duplicate 2% reorder 5% corrupt 1% burst 3 jitter 0.5ms queue 50ms rate 8mbit"
    assert words in shell.ok("impair")


BAD = [
    ("ss -K", "-K needs a filter"), ("ss nosuch 1", "what is 'nosuch'"), ("ss dst", "lacks what"),
    ("ss ( dst 10.0.0.2", "lacks its ')'"), ("ss dst 10.0.0.2 )", "does not belong"), ("ss not", "what is ''"),
    ("nc -z -l 80", "neither -l"),
    ("ss state nosuch", "no state 'nosuch'"),
    ("ss dst ten", "is not an IP address"), ("ss dport = :0", "is not a port"),
    ("conn 9", "no connection 9"), ("conn nosuch", "no connection nosuch"), ("conn show now", "what is 'now'"),
    ("conn close", "no connection is picked"), ("top -d 0", "range"), ("top -n none", "not a valid integer"),
    ("nc", "give an ADDR and a PORT"), ("nc -l", "give a PORT"), ("nc 10.0.0.2 0", "is not a port"),
    ("nc name 80", "is not an IP address"), ("nc ::1 80", "IPv4"), ("snc", "give one of -b"),
    ("snc -b 1 -c 2", "give one of -b"), ("snc -c 10.0.0.2", "is not ADDR:PORT"),
    ("curl", "Missing argument"), ("curl ftp://10.0.0.2/", "ftp is not spoken"), ("curl http://name/", "not an IP"),
    ("curl http://10.0.0.2:99999/", "no port"), ("curl -H nothing http://10.0.0.2/", "is no header"),
    ("curl -O http://10.0.0.2/", "names no file"),
    ("impair nosuch", "no interface"), ("impair lo loss 1%", "is no link"), ("impair mem0 loss", "lacks its value"),
    ("impair mem0 loss much", "loss is such as"), ("impair mem0 loss 150%", "a chance from 0 to 1"),
    ("impair mem0 rate 10", "rate is such as"), ("impair mem0 nosuch 1", "what is 'nosuch'"),
    ("impair mem0 in", "say what to do"), ("impair mem0 burst 0.5 loss 1%", "cannot come in runs"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), BAD, ids=[line for line, _ in BAD])
def test_wrong_words_are_one_line(shell, line, expected):
    assert expected.lower() in shell.bad(line).lower()
    assert type(shell.stack.driver.links[1]).__name__ == "MemoryLink"
