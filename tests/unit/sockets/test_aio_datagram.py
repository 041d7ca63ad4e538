"""asyncio's datagram transports over UDP."""

import asyncio

import pytest

from tests.harness.aio import ONE, run, until


class Letters(asyncio.DatagramProtocol):
    """Remembers what came; `answer` sends it back."""

    def __init__(self, answer=False):
        self.answer = answer
        self.came = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.came.append((data, addr))
        if self.answer:
            self.transport.sendto(data, addr)

    def error_received(self, exc):
        self.errors.append(exc)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def test_datagrams_go_both_ways():
    async def test(one, two):
        server, _ = await one.create_datagram_endpoint(lambda: Letters(answer=True), (ONE, 7))
        client, letters = await two.create_datagram_endpoint(Letters)
        for data in (b"a", bytearray(b"b" * 20_000), memoryview(b"c"), b""):
            client.sendto(data, (ONE, 7))
        await until(lambda: len(letters.came) == 4)
        assert letters.came == [(data, (ONE, 7)) for data in (b"a", b"b" * 20_000, b"c", b"")]
        assert server.get_extra_info("sockname") == (ONE, 7)
        assert server.get_extra_info("peername") is None
        assert server.get_extra_info("socket").getsockname() == (ONE, 7)
        assert client.get_write_buffer_size() == 0

    run(test)


def test_connected_port_sends_without_an_address_and_hears_of_errors():
    async def test(one, two):
        client, letters = await two.create_datagram_endpoint(Letters, remote_addr=(ONE, 9))
        assert client.get_extra_info("peername") == (ONE, 9)
        client.sendto(b"anybody?")
        await until(lambda: letters.errors)
        assert isinstance(letters.errors[0], ConnectionRefusedError)
        _, server = await one.create_datagram_endpoint(Letters, (ONE, 9))
        client.sendto(b"and now?", (ONE, 9))
        await until(lambda: server.came)
        with pytest.raises(ValueError, match="Invalid address"):
            client.sendto(b"x", (ONE, 10))

    run(test)


def test_what_cannot_be_sent_is_told_to_the_protocol():
    async def test(one, two):
        client, letters = await two.create_datagram_endpoint(Letters)
        client.sendto(bytes(70_000), (ONE, 7))
        client.sendto(b"x", ("192.0.2.1", 7))
        client.sendto(b"x", ("10.0.0.255", 7))
        assert [error.strerror for error in letters.errors] == [
            "Message too long",
            "Network is unreachable",
            "Permission denied",
        ]
        with pytest.raises(TypeError, match="bytes-like"):
            client.sendto("text", (ONE, 7))

    run(test)


def test_broadcast_needs_to_be_asked_for():
    async def test(one, two):
        _, server = await one.create_datagram_endpoint(Letters, ("", 7))
        client, _ = await two.create_datagram_endpoint(Letters, allow_broadcast=True)
        client.sendto(b"all", ("10.0.0.255", 7))
        await until(lambda: server.came)

    run(test)


def test_close_frees_the_port_and_tells_the_protocol_later():
    async def test(one, two):
        server, letters = await one.create_datagram_endpoint(Letters, (ONE, 7))
        with pytest.raises(OSError, match="in use"):
            await one.create_datagram_endpoint(Letters, (ONE, 7))
        server.close()
        server.abort()
        assert server.is_closing()
        assert not letters.lost.done()
        assert await letters.lost is None
        again, _ = await one.create_datagram_endpoint(Letters, (ONE, 7))
        assert again.get_protocol() is not letters

    run(test)


def test_close_in_the_middle_of_a_batch_ends_it(caplog):
    class Once(Letters):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()
            for _ in range(7):
                self.transport.sendto(data, addr)

    async def test(one, two):
        _, server = await one.create_datagram_endpoint(Once, (ONE, 7))
        client, _ = await two.create_datagram_endpoint(Letters)
        with two.driver.entered():
            for _ in range(3):
                client.sendto(b"x", (ONE, 7))
        assert await server.lost is None
        assert len(server.came) == 1

    run(test)
    assert len(caplog.records) == 2


def test_protocol_that_raises_is_reported_and_loses_its_port():
    async def test(one, two):
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))

        class Broken(Letters):
            def datagram_received(self, data, addr):
                raise ZeroDivisionError

        _, server = await one.create_datagram_endpoint(Broken, (ONE, 7))
        client, _ = await two.create_datagram_endpoint(Letters)
        client.sendto(b"x", (ONE, 7))
        assert isinstance(await server.lost, ZeroDivisionError)
        assert [report["protocol"] for report in reports] == [server]

    run(test)


def test_failing_factory_closes_the_port():
    async def test(one, two):
        with pytest.raises(ZeroDivisionError):
            await one.create_datagram_endpoint(lambda: 1 / 0, (ONE, 7))
        assert one.net.udp.endpoints == []

    run(test)
