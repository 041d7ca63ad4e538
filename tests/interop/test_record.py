"""A session on a real TAP, recorded while it runs and run again offline: the same frames, octet for octet."""

import signal
import subprocess
import sys

from scapystack.link.pcapread import read_capture
from scapystack.replay import Rerun
from tests.interop.netns import needs
from tests.interop.test_cli_run import Run

SIZE = 5_000_000
LOSS = """
table netdev lossy {
    chain in { type filter hook ingress device tap0 priority 0; ip protocol tcp numgen random mod 100 < 1 drop; }
}
"""


@needs("curl", "nft", "ping", "nc")
def test_session_with_losses_recorded_live_is_rerun_octet_for_octet(netns, tmp_path):
    recording, seen, page = tmp_path / "session.rec", tmp_path / "seen.pcap", tmp_path / "page"
    page.write_bytes(b"".join(b"%08d of what is fetched\n" % n for n in range(SIZE // 25)))
    # without offload each segment is a frame, and one of a hundred of them is lost
    words = ("--serve", "http,echo", "--dir", tmp_path, "--no-offload", "--record", recording, "-w", seen)
    run = Run(netns, *words)
    netns.run("nft", "-f", "-", data=LOSS.encode())
    netns.run("ping", "-c", "2", "-i", "0.2", "10.0.0.1", check=False)
    got = netns.run("curl", "-s", "-m", "50", "http://10.0.0.1/page")
    assert got == page.read_bytes()
    assert netns.run("nc", "-N", "10.0.0.1", "7", data=b"echo this") == b"echo this"
    status, _, err = run.end(signal.SIGINT)
    assert (status, err) == (0, "")
    page.unlink()

    with Rerun(recording) as again:
        assert again.run()
        assert again.differences == []
        assert not again.torn
        assert again.sent > 200
        assert again.frames > 500
        assert again.stack.counters["tcp.retrans_segs"] > 10

    captured = read_capture(seen)
    half = again.frames // 2
    words = (sys.executable, "-m", "scapystack", "rerun", "--until", half, "-w", tmp_path / "again.pcap", recording)
    told = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    shown = int(told.stdout.split(maxsplit=1)[0])
    assert half <= shown < half + 100, "what left at once with the frame asked for is shown, too, and no more"
    assert "every one as recorded" in told.stdout
    assert "TCP 10.0.0.1:80 10.0.0.2:" in told.stdout
    again_seen = read_capture(tmp_path / "again.pcap")
    assert len(again_seen) == shown
    # octet for octet what the link carried, as far as both captures cut it the same way
    assert [p.data for p in again_seen[:10]] == [p.data for p in captured[:10]]
