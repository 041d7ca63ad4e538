"""`c.plot()`: pictures of a live connection, through a wrap of the sequence numbers too."""

import struct

import pytest

from scapystack.base.errors import ConfigError
from scapystack.hooks import DROP
from scapystack.layers.tcp.isn import IsnGenerator
from tests.unit.plot import looks
from tests.unit.repl.world import World

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def wrapped():
    """A connection whose sequence numbers begin 60,000 before the end, and whose 12th segment was lost."""
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IsnGenerator, "isn", lambda *_: 0xFFFFFFFF - 60_000)
        c, server = world.connect()
    seen = []

    @world.stack.hook("tx", "segment", filter=lambda packet: len(packet) > 1_000)
    def lose(packet):
        seen.append(packet)
        return DROP if len(seen) == 12 else None

    world.simulation.start(lambda: all(iter(lambda: server.recv(65_536), b"")), "sink")
    c.socket.sendall(bytes(150_000))
    world.run(300)
    c.fin()
    world.run(100)
    assert c.info().snd_una < c.info().iss
    return c


def test_plot_of_a_connection_counts_through_the_wrap(wrapped):
    axes = wrapped.plot().axes[0]
    lines = {line.get_gid(): line for line in axes.lines}
    assert lines["ACK"].get_ydata()[-1] == 150_002
    assert looks.letters(wrapped.plot(), "O") == 1  # seen behind the hook that lost it
    assert looks.letters(wrapped.plot(), "S") > 0


@pytest.mark.parametrize("kind", ["sequence", "window", "rtt", "throughput"])
def test_plot_of_a_connection_has_nothing_cut_off(wrapped, kind):
    picture = wrapped.plot(kind)
    assert looks.cut_off(picture) == []
    assert looks.outside(picture) == []


def test_plot_of_a_connection_writes_itself_and_shows_itself_in_a_notebook(wrapped, tmp_path, monkeypatch):
    picture = wrapped.plot("throughput")
    octets = picture._repr_png_()
    assert octets.startswith(PNG)
    assert struct.unpack(">II", octets[16:24]) == (990, 616)
    picture.save(tmp_path / "picture.svg")
    assert b"<svg" in (tmp_path / "picture.svg").read_bytes()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="no screen"):
        picture.show()


def test_plot_of_a_connection_without_text_has_nothing_cut_off():
    world = World()
    c, _ = world.connect()
    c.fin()
    world.run(100)
    for kind in ("sequence", "throughput"):
        assert looks.cut_off(c.plot(kind)) == []
