"""Recording and rerun: sessions in virtual time, done again octet for octet; broken files; a stack that has changed."""

import gzip
import random
import struct
from errno import ECONNREFUSED

import pytest
from click.testing import CliRunner
from scapy.layers.inet import TCP

from scapystack.base.addr import Prefix
from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError, LinkError
from scapystack.cli.main import program
from scapystack.hooks import DROP, Delay
from scapystack.layers.tcp import transmit
from scapystack.link.impair import ImpairedLink, Impairment
from scapystack.link.memory import MemoryLink
from scapystack.link.pcapread import read_capture
from scapystack.repl.fork import fork
from scapystack.repl.live import Stack as Handles
from scapystack.repl.observer import Observer
from scapystack.replay import Recorder, Rerun
from scapystack.replay.roster import CALLS, ENDPOINTS
from scapystack.replay.values import Reader, encode
from scapystack.runtime.virtual import Simulation
from scapystack.shell.session import told
from scapystack.sockets import Stack
from scapystack.sockets import constants as c
from scapystack.sockets.services import start_services
from scapystack.stack import NetStack
from scapystack.trace import Tracer

MS = 1_000_000
TEXT = bytes(range(256)) * 300


class Session:
    """Two stacks in virtual time, the first (10.0.0.1) recorded. A context manager."""

    def __init__(self, path, seed=5, codec="compiled", wrap=None, **settings):
        self.path = path
        self.simulation = Simulation()
        ours, theirs = MemoryLink.pair(delay=5 * MS)
        config = StackConfig()
        for name, value in settings.items():
            setattr(config.tcp, name, value)
        self.net = NetStack(config, seed=seed, codec=codec)
        self.recorder = Recorder(path, self.net, seed, codec)
        self.ours = Stack("10.0.0.1/24", link=wrap(ours) if wrap else ours, net=self.net, simulation=self.simulation)
        self.peer = Stack("10.0.0.2/24", link=theirs, seed=6, simulation=self.simulation)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.ours.close()
        self.peer.close()
        self.recorder.close()
        assert not self.recorder.error

    def connected(self, port=80):
        """A connection to the recorded stack: its end, and the peer's."""
        server = self.ours.create_server(("10.0.0.1", port))
        client = self.peer.socket()
        client.setblocking(False)
        client.connect_ex(("10.0.0.1", port))
        accepted, _ = server.accept()
        client.setblocking(True)
        server.close()
        return accepted, client


def rerun(path):
    """Run it again; all must be the same."""
    with Rerun(path) as again:
        assert again.run()
        assert again.differences == []
        assert not again.torn
        return again


def everything(sock):
    """All up to the end."""
    got = b""
    while part := sock.recv(65_536):
        got += part
    return got


@pytest.mark.parametrize("codec", ["compiled", "paranoid"])
def test_session_with_streams_rerun_octet_for_octet(tmp_path, codec):
    with Session(tmp_path / "session", codec=codec) as session:
        ours, peer = session.connected()
        ours.sendall(TEXT)
        ours.shutdown(c.SHUT_WR)
        assert everything(peer) == TEXT
        peer.sendall(TEXT)
        peer.close()
        assert everything(ours) == TEXT
        ours.close()
        session.simulation.run_for(1_000 * MS)
        frames = session.recorder.frames
    again = rerun(tmp_path / "session")
    assert again.frames == frames
    assert again.sent > 6


def test_session_of_handles_with_looks_ahead_on_copies_rerun(tmp_path):
    with Session(tmp_path / "session") as session:
        ours, peer = session.connected()
        (handle,) = Handles(driver=session.ours.driver).conns()
        assert bytes(handle.next(b"never sent")[TCP].payload) == b"never sent"
        copied = fork(handle)
        copied.write(b"to nobody")
        copied.discard()
        handle.write(b"hello")
        assert peer.recv(100) == b"hello"
        peer.close()
        ours.close()
    rerun(tmp_path / "session")


def test_session_of_a_client_with_options_urgent_data_and_errors_rerun(tmp_path):
    with Session(tmp_path / "session") as session:
        with pytest.raises(ConnectionRefusedError):
            session.ours.create_connection(("10.0.0.2", 81))
        server = session.peer.create_server(("10.0.0.2", 80))
        ours = session.ours.socket()
        ours.setsockopt(c.SOL_SOCKET, c.SO_SNDBUF, 20_000)
        ours.setsockopt(c.IPPROTO_TCP, c.TCP_NODELAY, 1)
        ours.connect(("10.0.0.2", 80))
        peer, _ = server.accept()
        ours.sendall(b"a")
        ours.send(b"!", c.MSG_OOB)
        ours.setsockopt(c.IPPROTO_TCP, c.TCP_NODELAY, 0)
        ours.setsockopt(c.SOL_SOCKET, c.SO_KEEPALIVE, 1)
        ours.setsockopt(c.IPPROTO_TCP, c.TCP_KEEPIDLE, 1)
        session.simulation.run_for(3_500 * MS)
        session.net.config.tcp.delayed_ack_ms = 100  # read live, so it is an input too
        session.net.config.ip.ttl = 33
        peer.sendall(TEXT)
        room = bytearray(1_000)
        assert ours.recv_into(room) == 1_000
        ours.recv(10, c.MSG_PEEK)
        ours.setsockopt(c.SOL_SOCKET, c.SO_LINGER, struct.pack("ii", 1, 0))
        ours.close()
        with pytest.raises(ConnectionResetError):
            everything(peer)
        with pytest.raises(TimeoutError):
            session.ours.ping("10.0.0.99", timeout=0.5)
    rerun(tmp_path / "session")


def test_session_with_datagrams_pings_and_raw_sockets_rerun(tmp_path):
    with Session(tmp_path / "session") as session:
        ours = session.ours.socket(type=c.SOCK_DGRAM)
        ours.bind(("10.0.0.1", 53))
        peer = session.peer.socket(type=c.SOCK_DGRAM)
        peer.sendto(b"question", ("10.0.0.1", 53))
        data, where = ours.recvfrom(100)
        ours.setsockopt(c.IPPROTO_IP, c.IP_TTL, 5)
        ours.sendto(data * 400, where)
        assert len(peer.recv(10_000)) == 3_200
        ours.connect(("10.0.0.2", 9_999))
        ours.send(b"nobody is there")
        session.simulation.run_for(50 * MS)
        assert ours.getsockopt(c.SOL_SOCKET, c.SO_ERROR) == ECONNREFUSED
        assert session.ours.ping("10.0.0.2", size=4_000).rtt_ms == 10.0
        raw = session.ours.socket(type=c.SOCK_RAW, proto=99)
        raw.sendto(b"raw", ("10.0.0.2", 0))
        session.simulation.run_for(50 * MS)
    rerun(tmp_path / "session")


def test_session_of_services_rerun_without_them(tmp_path):
    with Session(tmp_path / "session") as session:
        (tmp_path / "page").write_bytes(TEXT)
        start_services(session.ours, "echo,http,source,daytime,discard", str(tmp_path))
        for _ in range(2):
            peer = session.peer.create_connection(("10.0.0.1", 80))
            peer.sendall(b"GET /page HTTP/1.0\r\n\r\n")
            assert everything(peer).endswith(TEXT)
            peer.close()
        peer = session.peer.create_connection(("10.0.0.1", 7))
        peer.sendall(TEXT[:10_000])
        assert len(peer.recv(10_000, c.MSG_WAITALL)) == 10_000
        peer.close()
        peer = session.peer.create_connection(("10.0.0.1", 19))
        peer.sendall(b"50000\n")
        assert len(everything(peer)) == 50_000
        peer.close()
        session.simulation.run_for(5_000 * MS)
    (tmp_path / "page").unlink()
    rerun(tmp_path / "session")


@pytest.mark.parametrize("seed", range(6))
def test_session_over_a_bad_link_rerun(tmp_path, seed):
    faults = Impairment(loss=0.03, duplicate=0.02, reorder=0.05, corrupt=0.01)

    def wrap(link):
        return ImpairedLink(link, tx=faults, rx=faults, seed=seed)

    with Session(tmp_path / "session", seed=bytes([seed]), wrap=wrap) as session:
        ours, peer = session.connected()
        chance = random.Random(seed)
        sent = 0
        ours.setblocking(False)
        peer.setblocking(False)
        for _ in range(200):
            for sock in (ours, peer):
                try:
                    if chance.random() < 0.6:
                        sent += sock.send(TEXT[: chance.randrange(1, 9_000)])
                    else:
                        sock.recv(chance.randrange(1, 9_000))
                except BlockingIOError:
                    pass
            session.simulation.run_for(chance.randrange(1, 30) * MS)
        assert sent > 100_000
    rerun(tmp_path / "session")


def test_session_whose_interface_and_routes_are_changed_rerun(tmp_path):
    with Session(tmp_path / "session") as session:
        with session.ours.driver.entered() as net:
            iface = net.interfaces[1]
            iface.mtu = 600
            net.routes.touch()
            net.routes.add(Prefix.parse("10.9.0.0/16"), iface, b"\x0a\0\0\2")
            net.routes.add(Prefix.parse("10.8.0.0/16"), iface, b"\x0a\0\0\2")
            assert net.routes.remove_where(lambda entry: str(entry.prefix) == "10.8.0.0/16") == 1
            with pytest.raises(ConfigError):
                net.add_address(iface, "10.0.0.1/24")
        with pytest.raises(OSError, match="unreachable"):
            session.ours.create_connection(("10.8.0.1", 80))
        with pytest.raises(TimeoutError):
            session.ours.create_connection(("10.9.0.1", 80), timeout=0.1)
        assert session.ours.ping("10.0.0.2", size=1_000).seq == 1  # in fragments
    again = rerun(tmp_path / "session")
    assert again.sent >= 4


def test_session_with_hooks_that_change_delay_and_drop_rerun_without_them(tmp_path):
    with Session(tmp_path / "session") as session:
        seen = {"rx": 0, "tx": 0}

        def meddle(way):
            @session.ours.hook(way, "segment")
            def hook(packet):
                seen[way] += 1
                return DROP if seen[way] % 9 == 8 else Delay(7) if seen[way] % 5 == 0 else None

        meddle("rx")
        meddle("tx")
        ours, peer = session.connected()
        for sock, other in ((ours, peer), (peer, ours)):
            sock.sendall(TEXT)
            assert other.recv(len(TEXT), c.MSG_WAITALL) == TEXT
        ours.close()
        peer.close()
        session.simulation.run_for(5_000 * MS)
        assert min(seen.values()) > 20
    rerun(tmp_path / "session")


@pytest.fixture
def recording(tmp_path):
    with Session(tmp_path / "session") as session:
        ours, peer = session.connected()
        ours.sendall(b"hello")
        assert peer.recv(10) == b"hello"
        peer.close()
        ours.close()
        session.simulation.run_for(1_000 * MS)
    return tmp_path / "session"


def test_rerun_until_a_frame_shows_the_state_there(recording):
    with Rerun(recording) as again:
        assert again.run(until=4)
        assert again.frames == 4
        (connection,) = again.stack.tcp.connections.values()
        assert connection.info().state == "SYN-RECEIVED"
        assert any("SYN-RECEIVED" in line for line in again.state())
        assert again.run(until=5)
        assert connection.info().state == "ESTABLISHED"
        assert not again.run(until=1_000)
        assert again.ended
        assert not again.differences


def test_rerun_of_a_changed_stack_names_the_first_frame(recording, monkeypatch):
    right = transmit.window_field
    monkeypatch.setattr(transmit, "window_field", lambda connection: right(connection) - 1)
    with Rerun(recording) as again:
        assert again.run()
        assert again.differences[0] == "frame 6 is another:"
        assert "> 10.0.0.2." in again.differences[1]
        assert again.differences[1].startswith("  - IP 10.0.0.1.80")
        assert again.differences[2].startswith("  + IP 10.0.0.1.80")


def test_rerun_program_says_what_it_found_and_writes_a_capture(recording, tmp_path):
    run = CliRunner().invoke
    done = run(program, ["rerun", str(recording), "-w", str(tmp_path / "again.pcapng")], standalone_mode=False)
    assert done.return_value == 0
    assert "frames, " in done.output
    assert "every one as recorded" in done.output
    packets = read_capture(tmp_path / "again.pcapng")
    done = run(program, ["rerun", str(recording), "--until", "3", "-v"], standalone_mode=False)
    lines = done.output.splitlines()
    assert done.return_value == 0
    assert lines[0].startswith("     1 < ")
    assert "Flags [S]" in lines[2]
    assert lines[3] == "3 frames, 1 of them sent: every one as recorded; 5 calls"
    done = run(program, ["rerun", str(recording), "--until", "999"], standalone_mode=False)
    assert done.return_value == 1
    assert f"{len(packets)} frames" in done.output


def test_session_that_is_traced_and_observed_as_well_is_recorded_whole(tmp_path):
    events = []
    with Session(tmp_path / "session") as session:
        tracer = Tracer(session.net, events.append, clock=session.simulation.clock)
        one, two = Observer(session.net), Observer(session.net)
        one.attach()
        two.attach()
        ours, peer = session.connected()
        ours.sendall(TEXT)
        ours.shutdown(c.SHUT_WR)
        assert everything(peer) == TEXT
        peer.close()
        ours.close()
        session.simulation.run_for(61_000 * MS)  # TIME-WAIT
        frames = session.recorder.frames
        seen = [(each.way, each.octets, each.causes) for each in one.records]
        assert seen == [(each.way, each.octets, each.causes) for each in two.records]
        one.detach()
        assert not session.net.config.tcp.coalesce  # the other one still wants it so
        two.detach()
        tracer.detach()
        assert session.net.config.tcp.coalesce
        session.ours.ping("10.0.0.2")
        assert session.recorder.frames >= frames + 2
        frames = session.recorder.frames
    assert [e["timers"] for e in events if e["event"] == "timer"] == [["wait"]]
    assert rerun(tmp_path / "session").frames == frames


def test_session_with_commands_of_the_shell_rerun(tmp_path):
    with Session(tmp_path / "session") as session:
        driver, simulation = session.ours.driver, session.simulation
        for line in ("ping2 -c 1 10.0.0.2", "ping -c 1 10.0.0.2"):
            assert told(driver, line, simulation=simulation)[0] == 0
        frames = session.recorder.frames
    assert rerun(tmp_path / "session").frames == frames


def test_rerun_of_a_recording_whose_writer_was_killed_goes_as_far_as_it_can(recording, tmp_path):
    (tmp_path / "cut").write_bytes(recording.read_bytes()[:-30])
    with Rerun(tmp_path / "cut") as again:
        assert again.run()
        assert again.torn
        assert again.differences == []


def test_recording_on_a_full_disk_ends_with_a_warning_and_the_stack_goes_on(caplog):
    simulation = Simulation()
    ours, theirs = MemoryLink.pair()
    net = NetStack(StackConfig(), seed=1)
    recorder = Recorder("/dev/full", net, 1)
    with (
        Stack("10.0.0.1/24", link=ours, net=net, simulation=simulation) as stack,
        Stack("10.0.0.2/24", link=theirs, simulation=simulation),
    ):
        for _ in range(3):
            assert stack.ping("10.0.0.2").rtt_ms is not None
            simulation.run_for(1_000 * MS)
    recorder.close()
    assert recorder.error == "cannot write /dev/full: No space left on device"
    assert caplog.messages == [f"{recorder.error}; the recording ends here"]


def test_recording_that_fits_no_more_when_it_ends_is_a_warning(caplog):
    Recorder("/dev/full", NetStack(StackConfig(), seed=1), 1).close()
    assert caplog.messages == ["cannot write /dev/full: No space left on device; the recording ends here"]


def test_rerun_of_what_is_no_recording_is_one_clear_error(tmp_path):
    (tmp_path / "text").write_text("no recording")
    with gzip.open(tmp_path / "other", "wb") as file:
        file.write(b"no recording, but gzip")
    for name in ("text", "other"):
        with pytest.raises((LinkError, OSError)):
            Rerun(tmp_path / name)
    done = CliRunner().invoke(program, ["rerun", str(tmp_path / "other")])
    assert isinstance(done.exception, SystemExit)
    with pytest.raises(FileNotFoundError):
        Rerun(tmp_path / "nosuch")


def test_rerun_of_damaged_recordings_never_raises_anything_else(recording, tmp_path):
    chance = random.Random(1)
    whole = gzip.decompress(recording.read_bytes())
    wrong = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with gzip.open(tmp_path / "damaged", "wb", compresslevel=1) as file:
            file.write(damaged)
        try:
            with Rerun(tmp_path / "damaged") as again:
                again.run()
                wrong += bool(again.differences)
        except (LinkError, ConfigError):
            wrong += 1
    assert wrong > 50


def test_roster_knows_every_call_of_an_endpoint():
    """A call that is not recorded would be missing in a rerun: here is what only the layers call."""
    inside = {
        "Connection": {
            "arm", "drop_out_of_order", "expire", "info", "mark_dirty", "move", "next_at", "note", "offered_wscale",
            "patience", "report", "send_limit", "ts_now", "writable_room", "begin_at",
        },
        "Listener": {"segment_arrives", "synack_retries", "admit", "forget"},
        "UdpEndpoint": {"take", "fail"},
        "RawEndpoint": {"take"},
        "PingEndpoint": {"take"},
    }  # fmt: skip
    for kind in ENDPOINTS:
        public = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
        assert public == set(CALLS[kind]) | inside[kind.__name__], kind.__name__


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1, 1 << 70, 0.5, "text", b"octets", (1, (2, ())), {"a": {"b": (None,)}}]
)
def test_values_survive(value):
    class File:
        def __init__(self, octets):
            self.octets = octets

        def read(self, n):
            part, self.octets = self.octets[:n], self.octets[n:]
            return part

    out = bytearray()
    encode(out, value)
    assert Reader(File(bytes(out))).value() == value
    for cut in range(len(out)):
        with pytest.raises(EOFError):
            Reader(File(bytes(out[:cut]))).value()
