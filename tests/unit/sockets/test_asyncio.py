"""asyncio over our sockets: its streams and `sock_` calls need nothing but the duck's voice and `fileno()`."""

import asyncio

import pytest

SAFETY_S = 20
DATA = bytes(range(256)) * 8_000


@pytest.fixture
def server(live):
    sock = live[0].create_server(("10.0.0.1", 4000))
    sock.setblocking(False)
    yield sock
    sock.close()


def test_streams_echo_through_a_server_and_a_client(live, server):
    async def serve(reader, writer):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def talk():
        client = live[1].socket()
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(serve, sock=server):
            await loop.sock_connect(client, ("10.0.0.1", 4000))
            reader, writer = await asyncio.open_connection(sock=client)
            assert writer.get_extra_info("peername") == ("10.0.0.1", 4000)
            writer.write(DATA)
            writer.write_eof()
            back = await reader.read()
            writer.close()
            await writer.wait_closed()
            return back

    assert asyncio.run(asyncio.wait_for(talk(), SAFETY_S)) == DATA


def test_sock_calls_of_the_loop(live, server):
    async def talk():
        loop = asyncio.get_running_loop()
        client = live[1].socket()
        client.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(server))
        await loop.sock_connect(client, ("10.0.0.1", 4000))
        accepted, address = await accepting
        assert address == client.getsockname()
        sending = asyncio.create_task(loop.sock_sendall(client, DATA))
        got = bytearray()
        while len(got) < len(DATA):
            got += await loop.sock_recv(accepted, 65_536)
        await sending
        client.close()
        assert await loop.sock_recv(accepted, 1) == b""
        accepted.close()
        return bytes(got)

    assert asyncio.run(asyncio.wait_for(talk(), SAFETY_S)) == DATA


def test_cancelled_recv_loses_nothing(live, server):
    async def talk():
        loop = asyncio.get_running_loop()
        client = live[1].socket()
        client.setblocking(False)
        await loop.sock_connect(client, ("10.0.0.1", 4000))
        accepted, _ = await loop.sock_accept(server)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(accepted, 10), 0.01)
        await loop.sock_sendall(client, b"afterwards")
        data = await loop.sock_recv(accepted, 10)
        client.close()
        accepted.close()
        return data

    assert asyncio.run(asyncio.wait_for(talk(), SAFETY_S)) == b"afterwards"
