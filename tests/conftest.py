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
import signal
from pathlib import Path

from hypothesis import HealthCheck, settings

from scapystack import codec
from scapystack.pytest_plugin.rights import lacking

HERE = Path(__file__).parent

# a busy machine must not fail a property: an example's time is no promise of ours
settings.register_profile("scapystack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scapystack")


def use_codec(wanted: str) -> None:
    """Have everybody who asks for the usual codec get another. Before anything else of scapystack is imported."""
    make = codec.make_codec
    codec.make_codec = lambda mode="compiled": make(wanted if mode == "compiled" else mode)


gc.disable()  # while tests are collected, nothing is garbage: a second less of four, in each worker

LONGEST = (
    "interop/test_cli_run", "unit/plot/test_pictures", "sim/test_fairness", "interop/test_cli_clients",
    "test_project", "interop/test_cli_bench", "interop/test_shell_terminal", "interop/test_kernel_loss",
    "interop/test_kernel_bulk", "test_benchmarks", "interop/test_repl_ipython", "interop/test_readme_repl",
    "sim/test_paths_bbr", "fuzz/test_floods", "property/test_two_stacks", "sim/test_paths_reno",
    "sim/test_paths_cubic", "interop/test_link_host", "unit/cli/test_demo", "sim/test_bbr", "sim/test_costs",
    "interop/test_syn_flood", "conformance/test_conformance", "interop/test_kernel_run", "interop/test_kernel_iperf3",
    "unit/test_pytest_plugin", "interop/test_kernel_icmp", "interop/test_link_driver", "interop/test_kernel_fastopen",
    "unit/sockets/test_supersocket", "property/test_codec_property", "interop/test_kernel_options",
    "interop/test_kernel_aio", "interop/test_kernel_programs", "docs/test_pictures", "fuzz/test_fuzz",
    "property/test_scoreboard", "replay/test_conversations", "tcp/test_pair", "tcp/test_black_hole", "tcp/test_blind",
    "interop/test_kernel_forward", "interop/test_tapip_manual", "tcp/test_bounds", "interop/test_kernel_pmtu",
    "replay/test_pcaps", "replay/test_record", "unit/link/test_impair", "unit/sockets/test_blocking",
    "interop/test_kernel_wire", "property/test_ipfrag",
)  # fmt: skip
"""The files that take longest, at 2 s and more: handed out first (`make test` tells xdist to keep this order), for
one that began last would leave the other processors with nothing to do. Others may come at any time."""


if "SCAPYSTACK_CODEC" in os.environ:
    use_codec(os.environ["SCAPYSTACK_CODEC"])


def pytest_configure(config):
    config.addinivalue_line("markers", "program(*names): needs these programs of the distribution")
    # a shell that starts the tests in the background has them deaf to Ctrl-C, and some send it, to children too
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # sbin is not in an ordinary user's PATH on every system, and ip, nft and ethtool live there
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def pytest_collection_modifyitems(items):
    places = {HERE / f"{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    """Seven thousand tests and Scapy stay to the end: looking through them was half of all garbage collection."""
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item):
    wanted = [name for mark in item.iter_markers("program") for name in mark.args]
    lacks = [f"{name} is not installed" for name in wanted if shutil.which(name) is None]
    if lacks:
        lacking(lacks)
