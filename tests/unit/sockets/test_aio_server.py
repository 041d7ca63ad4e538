"""`StackServer` and its promises, which are those of `asyncio.Server`."""

import asyncio
from contextlib import suppress

import pytest

from tests.harness.aio import ONE, Recorder, pair, run, until


def test_server_that_is_not_to_serve_yet_refuses_until_it_does():
    async def test(one, two):
        server = await one.create_server(Recorder, ONE, start_serving=False)
        address = server.sockets[0].getsockname()
        assert address[1]
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await two.open_connection(*address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        assert server.get_loop() is asyncio.get_running_loop()
        await two.open_connection(*address)

    run(test)


def test_port_that_is_taken_is_eaddrinuse_and_free_again_behind_close():
    async def test(one, two):
        async with await one.create_server(Recorder, ONE, 80) as server:
            with pytest.raises(OSError, match="in use"):
                await one.create_server(Recorder, ONE, 80)
            assert server.is_serving()
        assert not server.is_serving()
        assert server.sockets == ()
        await one.create_server(Recorder, None, 80)
        assert len(one.net.tcp.listeners) == 1

    run(test)


def test_several_addresses_are_several_sockets():
    async def test(one, two):
        server = await one.create_server(Recorder, (ONE, "127.0.0.1"), 80)
        assert [sock.getsockname() for sock in server.sockets] == [(ONE, 80), ("127.0.0.1", 80)]
        await one.open_connection("127.0.0.1", 80)
        await two.open_connection(ONE, 80)
        with pytest.raises(OSError, match="in use"):
            await one.create_server(Recorder, ("127.0.0.1", ONE), 80)

    run(test)


def test_socket_that_listens_already_gives_what_came_before():
    async def test(one, two):
        sock = one.stack.create_server((ONE, 80))
        _, client = await two.create_connection(Recorder, ONE, 80)
        client.transport.write(b"early")
        await until(lambda: sock.endpoint.readable)
        protocols = []
        await one.create_server(lambda: protocols.append(Recorder()) or protocols[-1], sock=sock)
        await until(lambda: protocols and protocols[0].data == b"early")

    run(test)


def test_factory_that_raises_closes_that_connection_only():
    async def test(one, two):
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context["exception"]))
        protocols = []

        def factory():
            if not reports:
                raise ZeroDivisionError
            protocols.append(Recorder())
            return protocols[-1]

        server = await one.create_server(factory, ONE)
        address = server.sockets[0].getsockname()
        _, first = await two.create_connection(Recorder, *address)
        assert await first.lost is None
        await two.create_connection(Recorder, *address)
        await until(lambda: protocols)
        assert [type(report) for report in reports] == [ZeroDivisionError]

    run(test)


def test_wait_closed_waits_for_the_connections_too():
    async def test(one, two):
        protocols = []
        server = await one.create_server(lambda: protocols.append(Recorder()) or protocols[-1], ONE)
        _, client = await two.create_connection(Recorder, *server.sockets[0].getsockname())
        await until(lambda: protocols)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        client.transport.write(b"still there")
        await until(lambda: protocols[0].data)
        assert not waiting.done()
        client.transport.close()
        await waiting
        assert protocols[0].calls[-1] == "lost"
        await server.wait_closed()

    run(test)


@pytest.mark.parametrize(("call", "error"), [("close_clients", None), ("abort_clients", ConnectionResetError)])
def test_server_may_end_its_clients(call, error):
    async def test(one, two):
        server = await one.create_server(Recorder, ONE)
        clients = [(await two.create_connection(Recorder, *server.sockets[0].getsockname()))[1] for _ in range(3)]
        await until(lambda: len(one.net.tcp.connections) == 3 and not one.net.tcp.waiting)
        server.close()
        getattr(server, call)()
        await server.wait_closed()
        for client in clients:
            lost = await client.lost
            assert lost is None if error is None else isinstance(lost, error)

    run(test)


def test_serve_forever_ends_with_its_task_and_closes_the_server():
    async def test(one, two):
        server = await one.create_server(Recorder, ONE, start_serving=False)
        serving = asyncio.create_task(server.serve_forever())
        await until(server.is_serving)
        with pytest.raises(RuntimeError, match="already"):
            await server.serve_forever()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert one.net.tcp.listeners == {}
        with pytest.raises(RuntimeError, match="closed"):
            await server.serve_forever()

    run(test)


def test_connections_that_nobody_accepted_are_reset_by_close():
    async def test(one, two):
        sock = one.stack.create_server((ONE, 80))
        _, client = await two.create_connection(Recorder, ONE, 80)
        await until(lambda: sock.endpoint.readable)
        server = await one.create_server(Recorder, sock=sock)
        server.close()
        assert isinstance(await client.lost, ConnectionResetError)

    run(test)


def test_two_hundred_connections_at_once():
    async def test(one, two):
        async def serve(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        server = await one.start_server(serve, ONE, backlog=256)
        address = server.sockets[0].getsockname()

        async def ask(number):
            reader, writer = await two.open_connection(*address)
            writer.write(b"%d\n" % number)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return int(answer)

        assert await asyncio.gather(*map(ask, range(200))) == list(range(200))
        server.close()
        await server.wait_closed()

    run(test)


def test_transport_says_what_it_is():
    async def test(one, two):
        server, client = await pair(one, two)
        assert "open" in repr(client.transport)
        client.transport.close()
        assert "closed" in repr(client.transport)
        await server.lost

    run(test)


@pytest.mark.parametrize("end", ["cancelled", "cancelled before it began", "raises"])
def test_session_that_fails_closes_its_connection_and_only_an_error_is_told(end):
    async def test(one, two):
        loop = asyncio.get_running_loop()
        told, sessions = [], []
        loop.set_exception_handler(lambda loop, context: told.append((context["message"], str(context["exception"]))))

        async def session(reader):
            sessions.append(asyncio.current_task())
            await reader.readline()
            raise ValueError("mine")

        def connected(reader, writer):
            if end == "cancelled before it began":
                known = asyncio.all_tasks()
                loop.call_soon(lambda: [task.cancel() for task in asyncio.all_tasks() - known])
            return session(reader)

        await one.start_server(connected, ONE, 80)
        reader, writer = await two.open_connection(ONE, 80)
        if end == "cancelled":
            await until(lambda: sessions)
            sessions[0].cancel()
        writer.write(b"line\n")
        with suppress(ConnectionResetError):  # by then the line may not have been read
            assert await reader.read() == b""
        assert told == ([("Unhandled exception in client_connected_cb", "mine")] if end == "raises" else [])
        writer.close()

    run(test)
