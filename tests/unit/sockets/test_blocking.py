"""Calls that wait: two running stacks on a link in memory, threads on both sides.

Nothing here sleeps for luck. `blocked` waits until a thread really waits on the socket; every call has
a time-out for safety, far beyond what it needs.
"""

import errno
import os
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

SAFETY_S = 20
PORT = 4000


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as made:
        yield made


@pytest.fixture
def ends(live):
    """A client on 10.0.0.2 and the server's end on 10.0.0.1, both blocking, with time-outs for safety."""
    one, two = live
    with one.create_server(("10.0.0.1", PORT)) as server:
        server.settimeout(SAFETY_S)
        client = two.create_connection(("10.0.0.1", PORT), timeout=SAFETY_S)
        accepted, _ = server.accept()
    accepted.settimeout(SAFETY_S)
    yield client, accepted
    client.close()
    accepted.close()


def blocked(sock, count=1):
    """Return once `count` threads wait on the socket."""
    end = time.monotonic() + SAFETY_S
    while True:
        with sock._driver.lock:
            if len(sock._channel.readers) + len(sock._channel.writers) >= count:
                return
        assert time.monotonic() < end, "nobody blocks"
        os.sched_yield()


def errno_of(future):
    error = future.exception(SAFETY_S)
    assert isinstance(error, OSError), error
    return error.errno


# -- being woken ---------------------------------------------------------------------------------------


def test_recv_waits_for_data(ends, pool):
    client, accepted = ends
    got = pool.submit(accepted.recv, 100)
    blocked(accepted)
    client.sendall(b"wake up")
    assert got.result(SAFETY_S) == b"wake up"


def test_recv_waits_for_the_end(ends, pool):
    client, accepted = ends
    got = pool.submit(accepted.recv, 100)
    blocked(accepted)
    client.shutdown(socket.SHUT_WR)
    assert got.result(SAFETY_S) == b""


def test_recv_waits_and_gets_the_reset(ends, pool):
    client, accepted = ends
    got = pool.submit(accepted.recv, 100)
    blocked(accepted)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert errno_of(got) == errno.ECONNRESET


def test_accept_waits_for_a_connection(live, pool):
    one, two = live
    server = one.create_server(("", PORT))
    server.settimeout(SAFETY_S)
    got = pool.submit(server.accept)
    blocked(server)
    client = two.create_connection(("10.0.0.1", PORT), timeout=SAFETY_S)
    accepted, address = got.result(SAFETY_S)
    assert address == client.getsockname()
    assert accepted.gettimeout() is None


def test_connect_waits_for_the_handshake_and_for_its_refusal(live):
    one, two = live
    client = two.socket()
    client.settimeout(SAFETY_S)
    with pytest.raises(ConnectionRefusedError):
        client.connect(("10.0.0.1", PORT))
    with one.create_server(("", PORT)):
        assert client.connect_ex(("10.0.0.1", PORT)) == 0


def test_sendall_waits_until_there_is_room(ends, pool):
    client, accepted = ends
    data = os.urandom(1 << 20) * 12  # more than both ends' buffers hold
    done = pool.submit(client.sendall, data)
    blocked(client)
    got = bytearray()
    while len(got) < len(data):
        got += accepted.recv(1 << 20)
    done.result(SAFETY_S)
    assert bytes(got) == data


def test_send_without_a_time_out_takes_everything(ends, pool):
    client, accepted = ends
    client.settimeout(None)
    done = pool.submit(client.send, bytes(10 << 20))
    blocked(client)
    total = 0
    while total < 10 << 20:
        total += len(accepted.recv(1 << 20))
    assert done.result(SAFETY_S) == 10 << 20


def test_recv_msg_waitall_waits_for_all(ends, pool):
    client, accepted = ends
    got = pool.submit(accepted.recv, 6, socket.MSG_WAITALL)
    peeked = pool.submit(accepted.recv, 3, socket.MSG_WAITALL | socket.MSG_PEEK)
    blocked(accepted, 2)
    client.sendall(b"ab")
    blocked(accepted, 2)
    assert not peeked.done()
    client.sendall(b"c")
    # the peek may come behind the other's reading; then it waits on
    client.sendall(b"def" + b"ghi")
    assert got.result(SAFETY_S) == b"abcdef"
    assert len(peeked.result(SAFETY_S)) == 3


def test_udp_recv_waits_for_a_datagram(live, pool):
    one, two = live
    a = one.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.settimeout(SAFETY_S)
    a.bind(("", 5000))
    got = pool.submit(a.recvfrom, 100)
    blocked(a)
    b = two.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b.sendto(b"ping", ("10.0.0.1", 5000))
    assert got.result(SAFETY_S) == (b"ping", ("10.0.0.2", b.getsockname()[1]))


def test_udp_recv_waits_and_gets_the_icmp_error(live, pool):
    _, two = live
    sock = two.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(SAFETY_S)
    sock.connect(("10.0.0.1", 5999))
    got = pool.submit(sock.recv, 100)
    blocked(sock)
    sock.send(b"x")
    assert errno_of(got) == errno.ECONNREFUSED


# -- time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.2])
def test_time_out_is_exact(ends, seconds):
    _, accepted = ends
    accepted.settimeout(seconds or 1e-9)
    begin = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        accepted.recv(1)
    took = time.monotonic() - begin
    assert str(caught.value) == "timed out"
    assert seconds <= took < seconds + 5  # a busy machine may come late, but never early
    assert accepted._channel.readers == []


def test_time_out_of_sendall_is_for_the_whole(ends, pool):
    """A reader that takes a little now and then must not prolong it for ever."""
    client, accepted = ends
    client.settimeout(0.5)
    stop = threading.Event()

    def sip():
        while not stop.is_set():
            accepted.recv(100_000)
            stop.wait(0.01)

    reader = pool.submit(sip)
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        client.sendall(bytes(1 << 30))
    assert time.monotonic() - begin < 10
    stop.set()
    client.close()
    reader.exception(SAFETY_S)


def test_connect_time_out_leaves_no_waiter_behind(live):
    _, two = live
    sock = two.socket()
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.connect(("10.0.0.77", 80))  # nobody answers ARP
    assert sock._channel.writers == []
    assert sock.connect_ex(("10.0.0.77", 80)) == errno.EALREADY
    sock.close()


def test_accept_time_out(live):
    one, _ = live
    server = one.create_server(("", PORT))
    server.settimeout(0.02)
    with pytest.raises(TimeoutError):
        server.accept()


# -- several threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["recv", "accept", "send", "connect", "udp"])
def test_close_in_another_thread_wakes_the_blocked_one(live, ends, pool, call):
    one, two = live
    client, accepted = ends
    if call == "recv":
        sock, job = accepted, pool.submit(accepted.recv, 1)
    elif call == "accept":
        sock = one.create_server(("", PORT + 1))
        job = pool.submit(sock.accept)
    elif call == "send":
        sock, job = client, pool.submit(client.sendall, bytes(1 << 25))
    elif call == "connect":
        sock = two.socket()
        job = pool.submit(sock.connect, ("10.0.0.77", 80))
    else:
        sock = one.socket(socket.AF_INET, socket.SOCK_DGRAM)
        job = pool.submit(sock.recv, 1)
    blocked(sock)
    sock.close()
    assert errno_of(job) == errno.EBADF


def test_close_of_the_stack_wakes_everybody(live, ends, pool):
    one, _ = live
    _, accepted = ends
    job = pool.submit(accepted.recv, 1)
    blocked(accepted)
    one.close()
    assert errno_of(job) == errno.EBADF
    one.close()
    with pytest.raises(RuntimeError, match="closed"):
        one.start()


def test_shutdown_read_in_another_thread_ends_recv(ends, pool):
    _, accepted = ends
    job = pool.submit(accepted.recv, 1)
    blocked(accepted)
    accepted.shutdown(socket.SHUT_RD)
    assert job.result(SAFETY_S) == b""


def test_shutdown_of_a_listener_in_another_thread_ends_accept(live, pool):
    one, _ = live
    server = one.create_server(("", PORT))
    job = pool.submit(server.accept)
    blocked(server)
    server.shutdown(socket.SHUT_RDWR)
    assert errno_of(job) == errno.EINVAL


def test_threads_that_read_one_socket_share_its_octets(ends, pool):
    client, accepted = ends
    jobs = [pool.submit(accepted.recv, 1) for _ in range(4)]
    blocked(accepted, 4)
    client.sendall(b"abcd")
    assert sorted(job.result(SAFETY_S) for job in jobs) == [b"a", b"b", b"c", b"d"]


def test_threads_that_accept_each_get_one(live, pool):
    one, two = live
    server = one.create_server(("", PORT))
    server.settimeout(SAFETY_S)
    jobs = [pool.submit(server.accept) for _ in range(3)]
    blocked(server, 3)
    clients = [two.create_connection(("10.0.0.1", PORT), timeout=SAFETY_S) for _ in range(3)]
    names = {job.result(SAFETY_S)[1] for job in jobs}
    assert names == {client.getsockname() for client in clients}


def test_reader_and_writer_thread_on_one_socket_do_not_disturb_each_other(ends, pool):
    client, accepted = ends
    data = os.urandom(1 << 16) * 64

    def echo():
        while part := accepted.recv(1 << 16):
            accepted.sendall(part)
        accepted.shutdown(socket.SHUT_WR)

    def write():
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    def read():
        parts = []
        while part := client.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    jobs = [pool.submit(echo), pool.submit(write), pool.submit(read)]
    assert jobs[2].result(SAFETY_S) == data
    jobs[0].result(SAFETY_S)
    jobs[1].result(SAFETY_S)


def test_many_clients_at_once_are_all_served(live, pool):
    one, two = live
    server = one.create_server(("", PORT), backlog=64)
    server.settimeout(SAFETY_S)

    def serve():
        for _ in range(40):
            sock, _ = server.accept()
            with sock:
                sock.settimeout(SAFETY_S)
                sock.sendall(sock.recv(100).upper())

    def ask(i):
        with two.create_connection(("10.0.0.1", PORT), timeout=SAFETY_S) as sock:
            sock.sendall(b"client %d" % i)
            return sock.recv(100)

    serving = pool.submit(serve)
    answers = list(pool.map(ask, range(40)))
    serving.result(SAFETY_S)
    assert answers == [b"CLIENT %d" % i for i in range(40)]


# -- descriptors, files, lingering ---------------------------------------------------------------------


def test_select_in_another_thread_is_woken_by_the_network(ends, pool):
    client, accepted = ends
    fd = accepted.fileno()
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        job = pool.submit(epoll.poll, SAFETY_S)
        client.sendall(b"x")
        assert job.result(SAFETY_S) == [(fd, select.EPOLLIN)]


def test_select_says_when_a_non_blocking_connect_is_made(live):
    one, two = live
    server = one.create_server(("", PORT))
    client = two.socket()
    client.setblocking(False)
    assert client.connect_ex(("10.0.0.1", PORT)) == errno.EINPROGRESS
    _, writable, _ = select.select([], [client], [], SAFETY_S)
    assert writable == [client]
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert client.getpeername() == ("10.0.0.1", PORT)
    server.close()


def test_makefile_reads_lines_and_writes_through_a_buffer(ends, pool):
    client, accepted = ends

    def serve():
        with accepted.makefile("rw", encoding="utf-8", newline="\n") as file:
            for line in file:
                file.write(line.upper())
                file.flush()

    job = pool.submit(serve)
    with client.makefile("rwb") as file:
        for line in (b"eins\n", b"zwei\n"):
            file.write(line)
            file.flush()
            assert file.readline() == line.upper()
    client.shutdown(socket.SHUT_WR)
    job.result(SAFETY_S)


def test_makefile_keeps_the_socket_open_until_it_is_closed_too(ends):
    client, accepted = ends
    file = client.makefile("rb", buffering=0)
    client.close()
    accepted.sendall(b"still here")
    assert file.read(100) == b"still here"
    assert client.fileno() >= 0
    file.close()
    assert client.fileno() == -1
    assert accepted.recv(1) == b""


def test_makefile_wrong_modes_are_value_errors(ends):
    client, _ = ends
    with pytest.raises(ValueError, match="mode"):
        client.makefile("a")
    with pytest.raises(ValueError, match="binary"):
        client.makefile("r", buffering=0)


def test_linger_waits_for_the_peer_to_have_it_all(ends, pool):
    client, accepted = ends
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, SAFETY_S))
    data = bytes(6 << 20)

    def send_and_close():
        client.sendall(data)
        client.close()

    job = pool.submit(send_and_close)
    total = 0
    while True:
        done = job.done()
        part = accepted.recv(1 << 20)
        total += len(part)
        if done:  # the peer has it all, read or waiting to be
            assert total + accepted._connection.available == len(data)
        if not part:
            break
    job.result(SAFETY_S)
    assert total == len(data)


def test_linger_gives_up_when_its_time_is_over(ends):
    client, _ = ends
    client.sendall(bytes(5 << 20))  # fills the window of a peer that does not read
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
    begin = time.monotonic()
    client.close()
    assert 0.9 < time.monotonic() - begin < 10


# -- ping ----------------------------------------------------------------------------------------------


def test_ping_is_answered_with_its_data(live):
    _, two = live
    reply = two.ping("10.0.0.1", size=100, timeout=SAFETY_S)
    assert (reply.address, reply.ttl, reply.data) == ("10.0.0.1", 64, bytes(range(100)))
    assert 0 < reply.rtt_ms < SAFETY_S * 1000
    with two.pinger() as pinger:
        assert [pinger.ping("10.0.0.1", seq, timeout=SAFETY_S).seq for seq in (1, 2, 65_535)] == [1, 2, 65_535]
    assert two.net.icmp.endpoints == {}


def test_ping_nobody_there_times_out_or_says_unreachable(live):
    _, two = live
    with pytest.raises(TimeoutError, match=r"no answer from 10\.0\.0\.99 within 0\.05 s"):
        two.ping("10.0.0.99", timeout=0.05)
    with pytest.raises(OSError, match="unreachable") as caught:
        two.ping("192.0.2.1")
    assert caught.value.errno == errno.ENETUNREACH
