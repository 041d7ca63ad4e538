"""ECN with the real kernel: agreed on in either role, and marks that a router sets are echoed and answered.

nftables plays the router: every twentieth frame that is marked ECT(0) becomes CE on its way.
"""

import os

import pytest

from tests.interop.netns import KERNEL, needs
from tests.interop.peers import Doing, connection_of, exactly

PORT = 5004
SIZE = 2_000_000
LIMIT_S = 20

_RULES = """
table netdev marks {
  chain from_stack {
    type filter hook ingress device tap0 priority 0;
    ip ecn ect0 numgen inc mod 20 == 0 counter ip ecn set ce
  }
}
table ip marks {
  chain to_stack {
    type filter hook output priority 0;
    oifname tap0 ip ecn ect0 numgen inc mod 20 == 0 counter ip ecn set ce
  }
}
"""


@needs("nft")
@pytest.mark.parametrize("stack_connects", [False, True], ids=["kernel-connects", "stack-connects"])
def test_marks_on_the_way_slow_both_down_and_lose_nothing(lan, stack_connects):
    """3168/6.1, SHLD-8."""
    lan.ns.sysctl("net.ipv4.tcp_ecn", 1)
    lan.stack.net.tcp.config.ecn = "on"
    lan.ns.run("nft", "-f", "-", data=_RULES.encode())
    if stack_connects:
        with lan.ns.socket(timeout=LIMIT_S) as listener:
            listener.bind((KERNEL, PORT))
            listener.listen()
            ours = lan.stack.create_connection((KERNEL, PORT), timeout=LIMIT_S)
            theirs = listener.accept()[0]
    else:
        with lan.stack.create_server(("", PORT)) as server:
            theirs = lan.ns.connect(PORT)
            ours = server.accept()[0]
    connection = connection_of(lan.stack, ours)
    data = os.urandom(SIZE), os.urandom(SIZE)
    with theirs, ours:
        ours.settimeout(LIMIT_S)
        theirs.settimeout(LIMIT_S)
        sending = Doing(theirs.sendall, data[0]), Doing(ours.sendall, data[1])
        reading = Doing(exactly, ours, SIZE), Doing(exactly, theirs, SIZE)
        assert [each.result(LIMIT_S) for each in reading] == list(data)
        for each in sending:
            each.result(LIMIT_S)
        info = connection.info()
    assert info.options & 24 == 24, "agreed on, and marked frames were seen"
    assert info.received_ce > 0
    assert info.delivered_ce > 0
    counters = lan.stack.net.counters
    assert 0 < counters["tcp.ecn_reductions"] <= counters["tcp.ecn_ce_received"] + info.delivered_ce
    assert not counters["tcp.timeouts"]
