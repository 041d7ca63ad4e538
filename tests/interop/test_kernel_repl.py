"""The session of docs/repl.md, against a real server of the kernel's; and the same text in captures."""

import doctest
import threading
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.utils import wrpcap

from scapystack.link.pcapread import read_capture
from scapystack.repl.console import Console
from tests.interop.netns import KERNEL, LIMIT_S, STACK, stack_on_tap

PAGE = Path(__file__).parents[2] / "docs" / "repl.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def console(netns):
    """A console beside a stack on a TAP."""
    import scapystack.all as names  # noqa: PLC0415 - all of Scapy, a second: not for each worker that reads this file

    lan = stack_on_tap(netns, offload=True)
    with lan.stack, Console(lan.stack, vars(names)) as made:
        yield made


@pytest.fixture
def echo(console, netns):
    """On port 7 of the kernel a server sends back what it gets."""
    with netns.socket() as server:
        server.bind((KERNEL, 7))
        server.listen()
        server.settimeout(LIMIT_S)

        def serve():
            client, _ = server.accept()
            with client:
                while data := client.recv(65_536):
                    client.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        for c in console.stack.conns():
            c.rst()
        thread.join(LIMIT_S)


def test_the_page_s_session_runs_against_the_kernel(console, echo):
    text = PAGE.read_text().replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, console.names, "repl.md", str(PAGE), 0)
    assert len(test.examples) > 30
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    failed, _ = runner.run(test, out=report.append, clear_globs=False)
    assert not failed, "".join(report)


def test_every_call_of_a_handle_does_to_the_kernel_what_it_says(console, netns, tmp_path, capsys):
    stack, names_ = console.stack, console.names
    listener = stack.listen(9)
    with netns.connect(9) as peer:
        c = listener.accept(LIMIT_S)
        peer.sendall(b"from the kernel")
        assert c.recv() == b"from the kernel"
        seen = len(c.log)
        c.keepalive()  # the kernel answers it with an ACK
        assert stack.wait_for(lambda: len(c.log) >= seen + 2, LIMIT_S)
        assert [str(packet[TCP].flags) for packet in c.log[seen:]] == ["A", "A"]
        c.hold()
        c.pause_timers()
        c.write(b"held")
        assert c.drop()[TCP].load == b"held"
        c.probe()  # no timer runs: this is the only one
        assert c.step()[TCP].load == b"held"
        assert c.step(LIMIT_S)[TCP].ack == c.info().snd_nxt
        c.pause_timers(False)
        c.release()
        assert peer.recv(100) == b"held"
        c.fin()
        assert peer.recv(100) == b""
        assert c.wait("FIN-WAIT-2")
        c.rst()
        assert c.state == "CLOSED"
        with pytest.raises(BrokenPipeError):  # a RST in CLOSE-WAIT
            peer.sendall(b"x")
    wrpcap(str(tmp_path / "log.pcap"), c.log)
    assert len(read_capture(tmp_path / "log.pcap")) == len(c.log)
    names_["ls"](c)
    names_["lsc"]()
    shown = capsys.readouterr().out
    assert names_["explain"](c.log[-1]).rules == ["RFC 9293 section 3.10.5 (ABORT)"]
    assert f"rcv_nxt                 : int          = {c.info().rcv_nxt}" in shown
    assert "c.next()" in shown
    with netns.connect(9) as peer:
        forgotten = listener.accept(LIMIT_S)
        forgotten.forget()
        assert [str(packet[TCP].flags) for packet in forgotten.log] == ["S", "SA", "A"]
        peer.sendall(b"who?")
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_scapy_s_sniff_without_an_interface_sees_the_stack_s_packets(console, netns):
    begun = threading.Event()
    sniffer = console.names["AsyncSniffer"](count=2, filter="icmp", started_callback=begun.set)
    sniffer.start()
    assert begun.wait(LIMIT_S)
    netns.run("ping", "-c", "1", "-W", "2", STACK)
    sniffer.join(LIMIT_S)
    assert [packet[ICMP].type for packet in sniffer.results] == [8, 0]
    assert "answers" in str(console.names["explain"](sniffer.results[1]))
