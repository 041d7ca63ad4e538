"""`AsyncStack`: connecting, and what is left when a call is cancelled or the stack closed."""

import asyncio
import errno
import threading

import pytest

from scapystack.layers.tcp.state import SYN_SENT
from tests.harness.aio import ONE, Recorder, pair, run, until

DATA = bytes(range(256)) * 8_000  # 2 MB


def test_connect_to_a_closed_port_is_refused():
    async def test(one, two):
        with pytest.raises(ConnectionRefusedError):
            await two.open_connection(ONE, 4_999)
        assert two.net.tcp.connections == {}

    run(test)


def test_connect_that_is_cancelled_leaves_nothing():
    async def test(one, two):
        connecting = asyncio.create_task(two.open_connection("10.0.0.77", 80))
        await until(lambda: two.net.tcp.connections)
        (connection,) = two.net.tcp.connections.values()
        assert connection.state == SYN_SENT
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert two.net.tcp.connections == {}
        assert two.net.tcp.ports == {}

    run(test)


def test_connect_that_is_cancelled_when_it_is_made_is_closed():
    async def test(one, two):
        server = await one.create_server(Recorder, ONE)
        address = server.sockets[0].getsockname()
        connecting = asyncio.create_task(two.open_connection(*address))
        await until(lambda: any(c.connected for c in two.net.tcp.connections.values()))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: not any(c.held for c in two.net.tcp.connections.values()))
        await until(lambda: one.net.tcp.connections == {})

    run(test)


def test_connect_with_an_address_of_our_own_and_with_a_socket():
    async def test(one, two):
        accepted = []
        server = await one.create_server(lambda: accepted.append(Recorder()) or accepted[-1], ONE)
        address = server.sockets[0].getsockname()
        transport, _ = await two.create_connection(Recorder, *address, local_addr=("10.0.0.2", 4_321))
        assert transport.get_extra_info("sockname") == ("10.0.0.2", 4_321)
        sock = two.stack.socket()
        sock.setblocking(False)
        assert sock.connect_ex(address) == errno.EINPROGRESS
        await until(lambda: sock.endpoint.connected)
        _, client = await two.create_connection(Recorder, sock=sock)
        client.transport.write(b"over a socket of mine")
        await until(lambda: any(each.data == b"over a socket of mine" for each in accepted))
        with pytest.raises(ValueError, match="either"):
            await two.create_connection(Recorder, *address, sock=sock)
        with pytest.raises(ValueError, match="either"):
            await two.create_connection(Recorder, ONE)

    run(test)


def test_connect_to_a_name_raises_gaierror_and_a_failing_factory_closes():
    async def test(one, two):
        with pytest.raises(OSError, match="neither an IPv4 address"):
            await two.open_connection("example.org", 80)
        server = await one.create_server(Recorder, ONE)
        with pytest.raises(ZeroDivisionError):
            await two.create_connection(lambda: 1 / 0, *server.sockets[0].getsockname())
        assert not any(c.held for c in two.net.tcp.connections.values())

    run(test)


# -- the stack -------------------------------------------------------------------------------------


def test_close_of_the_stack_waits_for_what_was_written():
    async def test(one, two):
        server, client = await pair(one, two)
        client.transport.write(DATA)  # no more than the send buffer holds
        client.transport.close()
        await two.close()
        assert server.data == DATA

    run(test)


def test_close_of_the_stack_tells_every_protocol():
    async def test(one, two):
        _, client = await pair(one, two)
        await two.close()
        assert client.calls == ["made", "lost"]
        assert client.lost.result() is None
        await two.close()
        with pytest.raises(OSError, match="down"):
            await two.open_connection(ONE, 80)
        with pytest.raises(RuntimeError, match="closed"):
            two.start()

    run(test)


def test_stack_cannot_have_a_thread_and_a_loop():
    async def test(one, two):
        with pytest.raises(RuntimeError, match="event loop"):
            two.stack.start()
        two.start()  # that it runs already is all right

    run(test)


def test_stack_with_a_thread_is_not_taken_over(live):
    async def test():
        with pytest.raises(RuntimeError, match="thread"):
            live[0].asyncio().start()

    asyncio.run(test())


def test_another_thread_may_block_in_a_socket_of_the_same_stack():
    async def test(one, two):
        sock = two.stack.socket()

        def talk(address):
            sock.settimeout(20)
            sock.connect(address)
            sock.sendall(b"from a thread")
            return sock.recv(100), threading.get_ident()

        async def serve(reader, writer):
            writer.write((await reader.read(100)).upper())

        server = await one.start_server(serve, ONE)
        answer, thread = await asyncio.to_thread(talk, server.sockets[0].getsockname())
        assert answer == b"FROM A THREAD"
        assert thread != threading.get_ident()
        sock.close()

    run(test)
