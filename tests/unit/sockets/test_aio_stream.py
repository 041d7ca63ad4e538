"""asyncio transports over TCP, one promise of asyncio's at a time: two stacks in one loop, no thread."""

import asyncio
import io

import pytest

from scapystack.base.config import StackConfig
from scapystack.layers.tcp.state import CLOSED
from tests.harness.aio import ONE, Recorder, pair, run, until

DATA = bytes(range(256)) * 8_000  # 2 MB


def small():
    """Buffers of 64 KB, so that little fills them."""
    config = StackConfig()
    config.tcp.sndbuf = config.tcp.rcvbuf = 65_536
    return config


def test_streams_carry_2_mb_each_way_at_once():
    async def serve(reader, writer):
        async def send():
            writer.write(DATA[::-1])
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await reader.read() == DATA
        await sending
        writer.close()

    async def test(one, two):
        server = await one.start_server(serve, ONE, 80)
        reader, writer = await two.open_connection(ONE, 80)
        writer.write(DATA)
        writer.write_eof()
        assert await reader.read() == DATA[::-1]
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(test, offload=True)


def test_protocol_is_called_in_order_and_learns_the_names():
    async def test(one, two):
        server, client = await pair(one, two)
        client.transport.write(b"question")
        await until(lambda: server.data)
        server.transport.write(b"answer")
        server.transport.close()
        assert await client.lost is None
        assert await server.lost is None
        assert server.calls == ["made", "data", "lost"]
        assert client.calls == ["made", "data", "eof", "lost"]
        assert client.data == b"answer"
        assert client.transport.get_extra_info("peername") == server.transport.get_extra_info("sockname")
        assert client.transport.get_extra_info("sockname") == server.transport.get_extra_info("peername")
        assert client.transport.get_extra_info("nothing", "default") == "default"

    run(test)


def test_socket_of_a_transport_has_names_and_options():
    async def test(one, two):
        server, client = await pair(one, two)
        sock = server.transport.get_extra_info("socket")
        assert sock.getpeername() == client.transport.get_extra_info("sockname")
        assert sock.getsockopt(6, 1) == 1  # TCP_NODELAY is set, as asyncio does
        sock.setsockopt(6, 1, 0)
        assert server.transport.get_extra_info("socket").getsockopt(6, 1) == 0

    run(test)


def test_reader_that_pauses_closes_the_window_and_the_writer_is_paused():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.write(DATA)
        assert client.calls == ["made", "pause"]
        (connection,) = one.net.tcp.connections.values()
        await until(lambda: connection.rcv_wnd == 0)
        held = connection.available
        assert held <= connection.options.rcvbuf
        assert server.data == b""
        server.transport.resume_reading()
        assert server.transport.is_reading()
        await until(lambda: len(server.data) == len(DATA))
        assert server.data == DATA
        assert client.calls == ["made", "pause", "resume"]

    run(test, small())


def test_protocol_that_pauses_in_data_received_gets_nothing_more():
    class Once(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def test(one, two):
        server, client = await pair(one, two, Once)
        client.transport.write(DATA)
        await until(lambda: server.data)
        (connection,) = one.net.tcp.connections.values()
        await until(lambda: connection.rcv_wnd == 0)
        assert len(server.data) <= 262_144
        while len(server.data) < len(DATA):
            before = len(server.data)
            server.transport.resume_reading()
            await until(lambda before=before: len(server.data) > before)
        assert server.data == DATA

    run(test, small())


def test_write_limits_say_when_the_protocol_is_paused():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        transport = client.transport
        assert transport.get_write_buffer_limits() == (16_384, 65_536)
        transport.set_write_buffer_limits(high=400_000, low=5_000)
        assert transport.get_write_buffer_limits() == (5_000, 400_000)
        transport.write(bytes(500_000))
        assert transport.get_write_buffer_size() == 500_000 - 65_536
        assert client.calls[-1] == "pause"
        transport.set_write_buffer_limits(low=250_000)
        assert transport.get_write_buffer_limits() == (250_000, 1_000_000)
        server.transport.resume_reading()
        await until(lambda: client.calls[-1] == "resume")
        assert transport.get_write_buffer_size() <= 250_000
        await until(lambda: len(server.data) == 500_000)
        assert transport.get_write_buffer_size() == 0
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=1, low=2)

    run(test, small())


def test_write_limit_of_nothing_pauses_with_the_first_octet_that_waits():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        client.transport.set_write_buffer_limits(0)
        client.transport.write(bytes(65_536))
        assert client.calls == ["made"]
        client.transport.write(b"x")
        assert client.calls == ["made", "pause"]

    run(test, small())


def test_octets_that_wait_are_those_of_the_time_of_writing():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        buffer = bytearray(b"a" * 200_000)
        client.transport.write(buffer)
        buffer[:] = b"b" * 200_000
        client.transport.write(memoryview(buffer)[:10])
        client.transport.writelines([b"c", b"", bytearray(b"d")])
        server.transport.resume_reading()
        await until(lambda: len(server.data) == 200_012)
        assert server.data == b"a" * 200_000 + b"b" * 10 + b"cd"

    run(test, small())


def test_write_of_something_else_than_octets_raises():
    async def test(one, two):
        _, client = await pair(one, two)
        with pytest.raises(TypeError, match="bytes-like"):
            client.transport.write("text")
        client.transport.write(b"")
        client.transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            client.transport.write(b"x")
        assert client.transport.can_write_eof()

    run(test)


def test_half_close_leaves_the_other_way_open_where_the_protocol_wants_it():
    async def test(one, two):
        server, client = await pair(one, two, lambda: Recorder(keep=True))
        client.transport.write(b"question")
        client.transport.write_eof()
        await until(lambda: server.calls[-1] == "eof")
        assert server.data == b"question"
        assert not server.transport.is_closing()
        server.transport.write(b"answer")
        await until(lambda: client.data == b"answer")
        server.transport.write_eof()
        await until(lambda: client.calls[-1] == "lost")
        assert client.calls == ["made", "data", "eof", "lost"]
        server.transport.close()
        assert await server.lost is None

    run(test)


def test_eof_waits_behind_octets_that_have_no_room():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        client.transport.write(DATA)
        client.transport.write_eof()
        server.transport.resume_reading()
        assert await server.lost is None
        assert server.data == DATA
        assert server.calls == ["made", "data", "eof", "lost"]

    run(test, small())


def test_close_sends_what_waits_before_it_tells_the_protocol():
    async def test(one, two):
        server, client = await pair(one, two)
        client.transport.write(DATA)
        client.transport.close()
        client.transport.close()
        assert client.transport.is_closing()
        assert client.calls == ["made", "pause"]
        assert await client.lost is None
        assert client.calls == ["made", "pause", "resume", "lost"]
        assert await server.lost is None
        assert server.data == DATA

    run(test, small())


def test_close_with_octets_unread_resets_as_linux_does():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        client.transport.write(b"never read")
        (connection,) = one.net.tcp.connections.values()
        await until(lambda: connection.available)
        server.transport.close()
        assert isinstance(await client.lost, ConnectionResetError)

    run(test)


def test_abort_resets_and_drops_what_waits():
    async def test(one, two):
        server, client = await pair(one, two)
        client.transport.write(DATA)
        client.transport.abort()
        assert client.transport.get_write_buffer_size() == 0
        client.transport.abort()
        assert "lost" not in client.calls  # only with the loop's next turn
        assert await client.lost is None
        assert isinstance(await server.lost, ConnectionResetError)
        assert two.net.tcp.connections == {}

    run(test, small())


def test_reset_behind_octets_is_told_after_them_even_to_one_that_pauses():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        client.transport.write(b"last words")
        (connection,) = one.net.tcp.connections.values()
        await until(lambda: connection.available == 10)
        client.transport.abort()
        await until(lambda: connection.state == CLOSED)
        assert server.calls == ["made"]
        server.transport.resume_reading()
        assert isinstance(await server.lost, ConnectionResetError)
        assert server.calls == ["made", "data", "lost"]
        assert server.data == b"last words"

    run(test)


def test_reset_without_octets_is_told_at_once_to_one_that_pauses():
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.pause_reading()
        client.transport.abort()
        assert isinstance(await server.lost, ConnectionResetError)

    run(test)


def test_writes_after_the_end_are_dropped_and_warned_of(caplog):
    async def test(one, two):
        server, client = await pair(one, two)
        server.transport.abort()
        await client.lost
        for _ in range(10):
            client.transport.write(b"x")
        assert client.transport.get_write_buffer_size() == 0

    run(test)
    assert [record.message for record in caplog.records] == ["transport.write() on a connection that is lost"] * 6


def test_write_on_loopback_calls_nobody_before_it_returns():
    async def test(one, two):
        server, client = await pair(one, one)
        inside = []

        class Answering(Recorder):
            def data_received(self, data):
                inside.append(writing)
                self.transport.write(data)

        server.transport.set_protocol(answering := Answering())
        answering.transport = server.transport
        assert server.transport.get_protocol() is answering
        writing = True
        client.transport.write(b"x")
        writing = False
        await until(lambda: client.data == b"x")
        assert inside == [False]

    run(test)


@pytest.mark.parametrize("method", ["data_received", "eof_received", "connection_made"])
def test_protocol_that_raises_is_reported_and_only_its_connection_ends(method):
    async def test(one, two):
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))

        class Broken(Recorder):
            pass

        def fail(self, *args):
            if method == "connection_made":
                self.transport = args[0]
            raise ZeroDivisionError

        setattr(Broken, method, fail)
        other, _ = await pair(one, two)
        server, client = await pair(one, two, Broken)
        if method != "connection_made":
            client.transport.write(b"x")
            client.transport.write_eof()
            assert isinstance(await server.lost, ZeroDivisionError)
            assert isinstance(await client.lost, ConnectionResetError)
        (report,) = reports
        assert method in report["message"]
        assert isinstance(report["exception"], ZeroDivisionError)
        assert report["protocol"] is server
        assert not other.transport.is_closing()

    run(test)


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises_is_reported_and_harms_nobody(method):
    async def test(one, two):
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context["message"]))

        class Broken(Recorder):
            pass

        def fail(self):
            raise ZeroDivisionError

        setattr(Broken, method, fail)
        server, client = await pair(one, two, make_client=Broken)
        client.transport.write(DATA)
        await until(lambda: len(server.data) == len(DATA))
        assert reports == [f"protocol.{method}() failed"]

    run(test, small())


class Into(asyncio.BufferedProtocol):
    """Takes octets in a buffer of its own, 1,000 at a time."""

    def __init__(self):
        self.buffer = bytearray(1_000)
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        assert sizehint > 0
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]

    def eof_received(self):
        return False

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def test_buffered_protocol_gets_octets_in_its_own_buffer():
    async def test(one, two):
        server, client = await pair(one, two, Into)
        client.transport.write(DATA[:300_001])
        client.transport.write_eof()
        assert await server.lost is None
        assert server.data == DATA[:300_001]

    run(test)


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_buffered_protocol_that_raises_ends_its_connection(method):
    async def test(one, two):
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context["message"]))

        class Broken(Into):
            pass

        setattr(Broken, method, lambda self, n: 1 / 0 if method == "buffer_updated" else b"")
        server, client = await pair(one, two, Broken)
        client.transport.write(b"x")
        assert isinstance(await server.lost, ZeroDivisionError if method == "buffer_updated" else RuntimeError)
        assert reports == [f"Fatal error: protocol.{method}() call failed."]

    run(test)


def test_protocol_may_change_in_the_middle_of_the_stream():
    async def test(one, two):
        server, client = await pair(one, two)
        client.transport.write(b"one ")
        await until(lambda: server.data == b"one ")
        server.transport.set_protocol(into := Into())
        client.transport.write(b"two")
        await until(lambda: into.data == b"two")

    run(test)


def test_sendfile_of_the_loop_sends_a_file(tmp_path):
    async def test(one, two):
        server, client = await pair(one, two)
        path = tmp_path / "file"
        path.write_bytes(DATA[:500_000])
        with path.open("rb") as file:
            loop = asyncio.get_running_loop()
            assert await loop.sendfile(client.transport, file) == 500_000
            with io.BytesIO(b"and this") as another:
                assert await loop.sendfile(client.transport, another) == 8
        await until(lambda: len(server.data) == 500_008)
        assert server.data == DATA[:500_000] + b"and this"

    run(test)
