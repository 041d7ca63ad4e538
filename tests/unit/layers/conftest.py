"""A `wire` of one interface and a `router` of two, in each of the codec's modes."""

import pytest

from scapystack.codec import MODES
from tests.harness.ip import Wire


@pytest.fixture(params=MODES)
def wire(request):
    return Wire("10.0.0.1/24", codec=request.param)


@pytest.fixture(params=MODES)
def strange(request):
    """As `wire`, with nobody known to ARP."""
    return Wire("10.0.0.1/24", codec=request.param, known=False)


@pytest.fixture(params=MODES)
def router(request):
    """Between 10.0.0.0/24 and 10.0.1.0/24."""
    return Wire("10.0.0.1/24", "10.0.1.1/24", codec=request.param, configure=forwarding)


def forwarding(config):
    config.ip.forward = True
