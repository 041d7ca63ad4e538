"""What every test may ask for: a real TAP, and programs of the distribution.

`@pytest.mark.needs_tap` (our own pytest plugin has it) and `@pytest.mark.program("nc", "curl")` skip with a
reason where that is missing, and fail instead under `SCAPYSTACK_REQUIRE_TAP=1`, as in CI, where everything must
really run.

`SCAPYSTACK_CODEC=scapy` (or `paranoid`, which has Scapy and the compiled codec do everything and compares)
runs every test that does not choose a codec itself in that mode: slower, and the same segments.
"""

import gc
import os
import shutil

from hypothesis import HealthCheck, settings

from scapystack import codec
from scapystack.pytest_plugin.rights import lacking

# a busy machine must not fail a property: an example's time is no promise of ours
settings.register_profile("scapystack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scapystack")


def use_codec(wanted: str) -> None:
    """Have everybody who asks for the usual codec get another. Before anything else of scapystack is imported."""
    make = codec.make_codec
    codec.make_codec = lambda mode="compiled": make(wanted if mode == "compiled" else mode)


if "SCAPYSTACK_CODEC" in os.environ:
    use_codec(os.environ["SCAPYSTACK_CODEC"])


def pytest_configure(config):
    config.addinivalue_line("markers", "program(*names): needs these programs of the distribution")
    # sbin is not in an ordinary user's PATH on every system, and ip, nft and ethtool live there
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def pytest_collection_finish():
    """Seven thousand tests and Scapy stay to the end: looking through them was half of all garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    wanted = [name for mark in item.iter_markers("program") for name in mark.args]
    lacks = [f"{name} is not installed" for name in wanted if shutil.which(name) is None]
    if lacks:
        lacking(lacks)
