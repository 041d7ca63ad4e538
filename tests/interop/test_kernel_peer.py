"""The fixture `kernel_peer`: a stack and a real kernel for anybody's tests, and what a failure tells of them."""

import os
import re
from pathlib import Path

from scapystack.link.netns import RUN_NETNS
from scapystack.link.pcapread import read_capture
from tests.interop.netns import needs

pytest_plugins = ["pytester"]


@needs("ping")
def test_kernel_peer_talks_with_the_stack(kernel_peer):
    assert b" 0% packet loss" in kernel_peer.run("ping", "-n", "-c", "1", "10.0.0.1")
    with kernel_peer.stack.create_server(("", 80)) as server, kernel_peer.connect(80) as client:
        accepted, address = server.accept()
        assert address[0] == kernel_peer.address
        client.sendall(b"from the kernel")
        assert accepted.recv(100) == b"from the kernel"


@needs("curl")
def test_example_of_the_document_passes(pytester):
    text = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text()
    pytester.makepyfile(next(each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "curl" in each))
    (pytester.path / "hello.txt").write_text("hello")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_kernel_peer_in_a_test_that_fails_tells_frames_and_leaves_a_capture_and_no_namespace(pytester):
    pytester.makepyfile(
        """
        def test_it(kernel_peer):
            print("namespace", kernel_peer.ns.name)
            server = kernel_peer.stack.create_server(("", 80))
            kernel_peer.connect(80).close()
            server.accept()
            kernel_peer.run("false")
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: false ended with 1: b'' b''",
            "*- scapystack seed 0, frames -*",
            "* rx IP 10.0.0.2.* > 10.0.0.1.80: Flags [[]S]*",
            "*- scapystack capture -*",
        ]
    )
    (path,) = Path("scapystack-captures").iterdir()
    assert any("a connection in SYN-RECEIVED" in packet.comment for packet in read_capture(path))
    name = next(line.split()[1] for line in result.outlines if line.startswith("namespace "))
    assert name not in os.listdir(RUN_NETNS)
