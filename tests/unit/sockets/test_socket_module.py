"""The stand-in for the `socket` module: what it replaces, what it leaves, and where it is put for how long."""

import select
import socket
import ssl
import sys
import types

import pytest

from scapystack import Stack
from scapystack.link.memory import MemoryLink
from scapystack.sockets.base import Socket
from scapystack.sockets.module import everywhere
from scapystack.sockets.twin import kernel_twin

LIMIT_S = 10


@pytest.fixture
def stacks():
    a, b = MemoryLink.pair()
    with Stack("10.99.0.1/24", link=a, seed=1) as one, Stack("10.99.0.2/24", link=b, seed=2) as two:
        yield one, two


@pytest.fixture
def module(stacks):
    return stacks[0].socket_module()


def test_module_has_the_real_constants_and_errors(module):
    assert module.AF_INET is socket.AF_INET
    assert module.timeout is socket.timeout
    assert module.inet_aton("10.0.0.1") == b"\x0a\0\0\1"
    assert (module.has_ipv6, module.has_dualstack_ipv6()) == (False, False)
    assert "create_connection" in dir(module)
    with pytest.raises(AttributeError):
        _ = module.nosuch


def test_module_socket_is_the_stacks_for_inet_and_the_kernels_for_the_rest(module):
    for made in (module.socket(), module.socket(socket.AF_INET, socket.SOCK_DGRAM)):
        assert isinstance(made, Socket)
        assert isinstance(made, module.socket)
        made.close()
    with module.socket(socket.AF_UNIX) as unix:
        assert type(unix) is socket.socket
        assert isinstance(unix, module.socket)
    with pytest.raises(OSError, match="not supported"):
        module.socket(socket.AF_INET6)
    assert not isinstance("text", module.socket)


def test_module_create_connection_looks_names_up_as_this_machine(module, stacks, monkeypatch):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *how: [(2, 1, 6, "", (a, port)) for a in ("10.99.0.1", "10.99.0.2")]
    )
    monkeypatch.setattr(socket, "gethostbyname", {"two.example": "10.99.0.2"}.__getitem__)
    with stacks[1].create_server(("", 80)) as server:
        with module.create_connection(("two.example", 80), timeout=LIMIT_S) as client:
            assert client.getpeername() == ("10.99.0.2", 80)
        with module.socket() as client:
            client.settimeout(LIMIT_S)
            client.connect(("two.example", 80))
            assert client.getpeername() == ("10.99.0.2", 80)
        with module.socket(type=socket.SOCK_DGRAM) as udp:
            assert udp.sendto(b"x", ("two.example", 9)) == 1
        server.accept()[0].close()


def test_module_create_connection_raises_the_first_error_or_all(module, stacks):
    with pytest.raises(ConnectionRefusedError):
        module.create_connection(("10.99.0.2", 81), LIMIT_S, ("10.99.0.1", 0))
    with pytest.raises(ExceptionGroup) as caught:
        module.create_connection(("10.99.0.2", 81), LIMIT_S, all_errors=True)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]


def test_module_getaddrinfo_knows_ipv4_alone(module):
    assert module.getaddrinfo("10.0.0.2", 80, type=socket.SOCK_STREAM)[0][4] == ("10.0.0.2", 80)
    assert module.gethostbyname("127.0.0.1") == "127.0.0.1"
    with pytest.raises(socket.gaierror):
        module.getaddrinfo("::1", 80, socket.AF_INET6)


def test_module_create_server_listens_on_the_stack(module, stacks):
    one, two = stacks
    with module.create_server(("10.99.0.1", 80)) as server, two.create_connection(("10.99.0.1", 80), timeout=LIMIT_S):
        accepted, peer = server.accept()
        accepted.close()
    assert peer[0] == "10.99.0.2"
    assert one.net.counters["tcp.no_port"] == 0


def user(**names):
    """A module that has these."""
    made = types.ModuleType("user")
    vars(made).update(names)
    return made


def test_sockets_for_replaces_the_module_and_its_names_and_puts_them_back(stacks):
    by_module, by_names = user(socket=socket), user(create_connection=socket.create_connection, socket=socket.socket)
    with stacks[0].sockets_for(by_module, by_names) as stand_in:
        assert by_module.socket is stand_in
        assert by_names.socket is stand_in.socket
        assert by_names.create_connection == stand_in.create_connection
    assert by_module.socket is socket
    assert by_names.socket is socket.socket
    assert by_names.create_connection is socket.create_connection


def test_sockets_for_a_module_without_sockets_says_so(stacks):
    wrap = ssl.SSLContext.wrap_socket
    with pytest.raises(ValueError, match="user does not use the socket module"), stacks[0].sockets_for(user(a=1)):
        pass
    assert ssl.SSLContext.wrap_socket is wrap


def test_everywhere_replaces_it_for_later_imports_and_for_loaded_modules(module):
    loaded = sys.modules["loaded_by_test"] = user(socket=socket)
    try:
        with everywhere(module):
            import socket as imported  # noqa: PLC0415

            assert imported is module
            assert loaded.socket is module
            assert sys.modules["scapystack.sockets.module"].real is not module
    finally:
        del sys.modules["loaded_by_test"]
    assert sys.modules["socket"] is socket
    assert loaded.socket is socket


# -- the twin


def test_twin_carries_octets_and_both_ends_of_the_stream(stacks):
    with stacks[1].create_server(("", 80)) as server:
        twin = kernel_twin(stacks[0].create_connection(("10.99.0.2", 80), timeout=LIMIT_S))
        accepted, _ = server.accept()
    accepted.settimeout(LIMIT_S)
    assert twin.gettimeout() == LIMIT_S
    twin.sendall(bytes(200_000))
    got = 0
    while got < 200_000:
        got += len(accepted.recv(65_536))
    accepted.sendall(b"answer")
    assert select.select([twin], [], [], LIMIT_S)[0]
    assert twin.recv(100) == b"answer"
    twin.shutdown(socket.SHUT_WR)
    assert accepted.recv(100) == b""
    accepted.close()
    assert twin.recv(100) == b""
    twin.close()


def test_twin_of_a_connection_that_is_reset_ends(stacks):
    with stacks[1].create_server(("", 80)) as server:
        twin = kernel_twin(stacks[0].create_connection(("10.99.0.2", 80), timeout=LIMIT_S))
        accepted, _ = server.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    accepted.close()
    with twin:
        assert twin.recv(100) == b""
