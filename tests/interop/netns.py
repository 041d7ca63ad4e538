"""What tests against the kernel share: namespaces, a stack on a TAP (`scapystack.testing.kernel`), what they need."""

from typing import NoReturn

import pytest

from scapystack.pytest_plugin.rights import lacking as lacks
from scapystack.testing.kernel import KERNEL, LIMIT_S, STACK, Namespace
from scapystack.testing.kernel import KernelPeer as Lan

__all__ = ["KERNEL", "LIMIT_S", "STACK", "Lan", "Namespace", "lacking", "needs", "stack_on_tap"]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip, or fail under SCAPYSTACK_REQUIRE_TAP=1, where one of these programs is not installed."""
    return pytest.mark.program(*programs)


def lacking(reason: str) -> NoReturn:
    """The same for what shows only when it is tried."""
    lacks([reason])


def stack_on_tap(ns: Namespace, *, offload: bool, **how) -> Lan:
    """Bring up `Lan` in a namespace."""
    return Lan(ns, offload=offload, **how)
