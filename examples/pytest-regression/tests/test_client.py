"""The client over networks that do what real ones do, in virtual time: no root, no sleeping, the same every time."""

import pytest
from client import fetch

PAGE = b"HTTP/1.0 200 OK\r\n\r\n" + b"greetings " * 2_000


def serve(host):
    """A web server for one request."""
    sock, _ = host.create_server(("", 80)).accept()
    sock.recv(1000)
    sock.sendall(PAGE)
    sock.close()


@pytest.mark.parametrize("loss", [0, 0.05, 0.2])
def test_page_arrives_whole_in_spite_of_losses(network, loss):
    ours, router, theirs = network.host("ours"), network.router(), network.host("theirs")
    network.link(ours, router, delay_ms=1)
    network.link(router, theirs, delay_ms=30, jitter_ms=5, loss=loss)
    theirs.spawn(serve)
    assert fetch(theirs.address, ours.create_connection) == PAGE


def test_reset_by_the_server_is_tried_again(scripted_peer):
    client = scripted_peer.stack.spawn(lambda host: fetch(scripted_peer.address, host.create_connection))
    first = scripted_peer.accept(80)
    first.expect("PA seq=1 len=18")
    first.send("R")
    second = scripted_peer.accept(80)
    second.expect("PA seq=1 len=18")
    second.send("FPA", b"hello")
    second.expect("A ack=7", "FA ack=7")
    assert client.result() == b"hello"
