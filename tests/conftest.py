"""What every test may ask for: a real TAP, and programs of the distribution.

`@pytest.mark.tap` (needs /dev/net/tun and the right to make TAPs and namespaces) and
`@pytest.mark.program("nc", "curl")` skip with a reason where that is missing, and fail instead
under `SCAPYSTACK_REQUIRE_TAP=1`, as in CI, where everything must really run.

`SCAPYSTACK_CODEC=scapy` (or `paranoid`, which has Scapy and the compiled codec do everything and compares)
runs every test that does not choose a codec itself in that mode: slower, and the same segments.
"""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from scapystack import codec

# a busy machine must not fail a property: an example's time is no promise of ours
settings.register_profile("scapystack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scapystack")

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


def use_codec(wanted: str) -> None:
    """Have everybody who asks for the usual codec get another. Before anything else of scapystack is imported."""
    make = codec.make_codec
    codec.make_codec = lambda mode="compiled": make(wanted if mode == "compiled" else mode)


if "SCAPYSTACK_CODEC" in os.environ:
    use_codec(os.environ["SCAPYSTACK_CODEC"])


def pytest_configure(config):
    config.addinivalue_line("markers", "tap: needs /dev/net/tun and the right to make TAPs and namespaces")
    config.addinivalue_line("markers", "program(*names): needs these programs of the distribution")
    # sbin is not in an ordinary user's PATH on every system, and ip, nft and ethtool live there
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def pytest_runtest_setup(item):
    lacks = list(missing_rights()) if item.get_closest_marker("tap") else []
    for mark in item.iter_markers("program"):
        lacks += [f"{name} is not installed" for name in mark.args if shutil.which(name) is None]
    if lacks:
        if os.environ.get("SCAPYSTACK_REQUIRE_TAP") == "1":
            pytest.fail("; ".join(lacks), pytrace=False)
        pytest.skip("; ".join(lacks))


def missing_rights():
    """What keeps this process from making a TAP in a namespace of its own."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        yield "no access to /dev/net/tun"
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    if not effective >> CAP_NET_ADMIN & effective >> CAP_SYS_ADMIN & 1:
        yield "not root (CAP_NET_ADMIN and CAP_SYS_ADMIN)"
