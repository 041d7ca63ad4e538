"""asyncio on the stack, the real kernel at the other end of a TAP: no thread but the event loop's."""

import asyncio
import hashlib
import os
import socket
import sys
import threading

import pytest

from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack
from tests.interop.netns import KERNEL, STACK, needs
from tests.interop.peers import kernel_receives, kernel_sends, said

LIMIT_S = 60
SIZE = 20_000_000


@pytest.fixture(params=[True, False], ids=["offload", "no-offload"])
def talk(request, netns):
    """Runs `await test(stack)` with a stack on a TAP in the running loop."""

    def run(test):
        async def main():
            link = TapLink("tap0", netns=netns.name, offload=request.param)
            netns.net.set_up("tap0")
            netns.net.add_address("tap0", f"{KERNEL}/24")
            async with Stack(f"{STACK}/24", link=link).asyncio() as stack:
                await test(stack)
                assert stack.net.counters["driver.errors"] == 0
            assert [thread.name for thread in threading.enumerate() if thread.name == "scapystack"] == []

        asyncio.run(asyncio.wait_for(main(), LIMIT_S))

    return run


class Digest(asyncio.Protocol):
    """Counts and digests what comes."""

    def __init__(self):
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.end = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.sha256.update(data)
        self.size += len(data)

    def connection_lost(self, exc):
        self.end.set_result(exc)


async def ended(child):
    """The words that a program on the kernel's side printed."""
    return await asyncio.to_thread(said, child)


def test_protocol_takes_20_mb_of_the_kernels(talk, netns):
    async def test(stack):
        protocols = []
        server = await stack.create_server(lambda: protocols.append(Digest()) or protocols[-1], STACK, 5000)
        (digest,) = await ended(kernel_sends(netns, 5000, SIZE))
        assert await protocols[0].end is None
        assert (protocols[0].size, protocols[0].sha256.hexdigest()) == (SIZE, digest)
        server.close()
        await server.wait_closed()

    talk(test)


def test_stream_sends_20_mb_to_the_kernel(talk, netns):
    async def test(stack):
        child = kernel_receives(netns, KERNEL, 5001)
        _, writer = await stack.open_connection(KERNEL, 5001)
        data = os.urandom(SIZE)
        for at in range(0, SIZE, 100_000):
            writer.write(data[at : at + 100_000])
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await ended(child) == [str(SIZE), hashlib.sha256(data).hexdigest()]

    talk(test)


_ECHO = """
import hashlib, os, socket, sys, threading
data = os.urandom(int(sys.argv[1]))
with socket.create_connection(("10.0.0.1", 5002), timeout=30) as sock:
    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    back = bytearray()
    while part := sock.recv(1 << 18):
        back += part
    sender.join()
print(bytes(back) == data)
"""


def test_stream_echoes_20_mb_and_ends_when_the_kernel_has_half_closed(talk, netns):
    async def test(stack):
        async def serve(reader, writer):
            while data := await reader.read(1 << 17):
                writer.write(data)
                await writer.drain()
            writer.close()

        await stack.start_server(serve, STACK, 5002)
        child = netns.popen(sys.executable, "-I", "-c", _ECHO, SIZE, stdout=-1, stderr=-1)
        assert await ended(child) == ["True"]

    talk(test)


def test_half_close_of_ours_leaves_the_kernels_way_open(talk, netns):
    async def test(stack):
        loop = asyncio.get_running_loop()
        with netns.socket() as listening:
            listening.bind((KERNEL, 5003))
            listening.listen()
            listening.setblocking(False)
            reader, writer = await stack.open_connection(KERNEL, 5003)
            theirs, name = await loop.sock_accept(listening)
            assert name == writer.get_extra_info("sockname")
        with theirs:
            writer.write(b"question")
            writer.write_eof()
            assert await loop.sock_recv(theirs, 100) == b"question"
            assert await loop.sock_recv(theirs, 100) == b""
            await loop.sock_sendall(theirs, b"answer")
            theirs.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"answer"
            writer.close()
            await writer.wait_closed()

    talk(test)


def test_reader_that_pauses_stops_the_kernel_and_lets_it_go_on(talk, netns):
    async def test(stack):
        loop = asyncio.get_running_loop()
        protocols = []
        await stack.create_server(lambda: protocols.append(Paused()) or protocols[-1], STACK, 5004)
        with netns.socket() as theirs:
            theirs.setblocking(False)
            await loop.sock_connect(theirs, (STACK, 5004))
            sending = asyncio.create_task(loop.sock_sendall(theirs, bytes(SIZE)))
            await asyncio.sleep(0.3)
            assert not sending.done()
            assert protocols[0].size == 0
            protocols[0].transport.resume_reading()
            await sending
            theirs.shutdown(socket.SHUT_WR)
            assert await protocols[0].end is None
            assert protocols[0].size == SIZE

    class Paused(Digest):
        def connection_made(self, transport):
            self.transport = transport
            transport.pause_reading()

    talk(test)


def test_abort_is_a_reset_and_so_is_the_kernels(talk, netns):
    async def test(stack):
        loop = asyncio.get_running_loop()
        protocols = []
        await stack.create_server(lambda: protocols.append(Held()) or protocols[-1], STACK, 5005)
        for end in ("ours", "theirs"):
            theirs = netns.socket()
            theirs.setblocking(False)
            await loop.sock_connect(theirs, (STACK, 5005))
            await loop.sock_sendall(theirs, b"x")
            while not (protocols and protocols[-1].size):
                await asyncio.sleep(0.001)
            if end == "ours":
                protocols[-1].transport.abort()
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(theirs, 1)
                assert await protocols[-1].end is None
            else:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                theirs.close()
                assert isinstance(await protocols[-1].end, ConnectionResetError)
            theirs.close()
            protocols.clear()

    class Held(Digest):
        def connection_made(self, transport):
            self.transport = transport

    talk(test)


_MANY = """
import asyncio
async def one(n):
    reader, writer = await asyncio.open_connection("10.0.0.1", 5006)
    writer.write(b"%d\\n" % n)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer == b"%d!\\n" % n
async def main():
    for _ in range(5):
        print(*await asyncio.gather(*map(one, range(100))))
asyncio.run(main())
"""


def test_five_hundred_connections_of_the_kernels(talk, netns):
    async def test(stack):
        async def serve(reader, writer):
            writer.write((await reader.readline())[:-1] + b"!\n")
            writer.close()

        await stack.start_server(serve, STACK, 5006, backlog=128)
        child = netns.popen(sys.executable, "-I", "-c", _MANY, stdout=-1, stderr=-1)
        assert await ended(child) == ["True"] * 500

    talk(test)


@needs("curl")
def test_curl_fetches_a_page_from_a_handler_of_twenty_lines(talk, netns):
    body = os.urandom(3_000_000)

    async def serve(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /page HTTP/1.1\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        writer.close()

    async def test(stack):
        await stack.start_server(serve, STACK, 80)
        assert await asyncio.to_thread(netns.run, "curl", "-sS", f"http://{STACK}/page") == body

    talk(test)


@needs("openssl")
def test_tls_of_the_loop_runs_over_a_transport_of_ours(talk, netns, tmp_path):
    """`StreamWriter.start_tls` against the kernel's own TCP under Python's ssl module."""
    import ssl  # noqa: PLC0415

    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    netns.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
        "-subj", "/CN=stack", "-addext", f"subjectAltName=IP:{KERNEL}", "-keyout", key, "-out", cert,
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(cert))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)

    def answer(listening):
        with server.wrap_socket(listening.accept()[0], server_side=True) as sock:
            got = b""
            while len(got) < 500_000:
                got += sock.recv(65_536)
            sock.sendall(got[::-1])
            sock.unwrap()

    async def test(stack):
        with netns.socket() as listening:
            listening.bind((KERNEL, 443))
            listening.listen()
            answering = asyncio.create_task(asyncio.to_thread(answer, listening))
            reader, writer = await stack.open_connection(KERNEL, 443)
            await writer.start_tls(context, server_hostname=KERNEL)
            data = os.urandom(500_000)
            writer.write(data)
            assert await reader.readexactly(500_000) == data[::-1]
            writer.close()
            await answering

    talk(test)


def test_datagrams_with_the_kernel(talk, netns):
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)

    async def test(stack):
        loop = asyncio.get_running_loop()
        await stack.create_datagram_endpoint(Echo, (STACK, 7))
        with netns.socket(socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((STACK, 7))
            for size in (0, 1, 1_472, 20_000):
                await loop.sock_sendall(sock, bytes(size))
                assert await loop.sock_recv(sock, 65_536) == bytes(size)

    talk(test)
