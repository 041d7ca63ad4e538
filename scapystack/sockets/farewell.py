"""What a stack still owes its peers when its program closes it: what was sent, to its acknowledgement.

A kernel goes on by itself after a program's end, with what sockets were given and the FIN behind it. A stack that
lives in the program has to stay that long. Read `Stack.close` first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from scapystack.base.types import SECOND
from scapystack.layers.tcp.state import CLOSED, FIN_WAIT_2, LISTEN, SYN_RECEIVED, SYN_SENT, TIME_WAIT

if TYPE_CHECKING:
    from scapystack.layers.tcp.tcb import Tcb
    from scapystack.sockets.waiting import Ground, Waiter
    from scapystack.stack import NetStack

LONGEST_S = 60.0
"""However well it goes on."""
_LOOK_S = 0.25
_LAST_WORD_S = 0.1
"""For the answers to RSTs: a peer that has not got what was sent before it challenges one (RFC 5961 section 3.2), and
believes only the next, which answers that."""
_OWES_NOTHING = (CLOSED, LISTEN, FIN_WAIT_2, TIME_WAIT)


def see_out(ground: Ground, patience_s: float) -> None:
    """Close what is open yet and wait until peers have acknowledged all data and our FINs.

    Not longer than `patience_s` without a word of progress; who has not acknowledged by then is sent a RST, so that
    it does not wait for the rest. Somebody has to run the driver meanwhile.
    """
    driver = ground.driver
    news: list[Waiter] = []

    def moved(connection: Tcb, old: int, new: int) -> None:
        if new in _OWES_NOTHING:
            for waiter in news:
                with suppress(RuntimeError):  # another connection has let go of it
                    waiter.release()

    with driver.entered() as net:
        _let_go(net)
        net.tcp.observers.append(moved)
    try:
        longest = driver.clock() + round(LONGEST_S * SECOND)
        until, owed = driver.clock() + round(patience_s * SECOND), -1
        while driver.clock() < min(until, longest) and not all(each.broken for each in driver.links.values()):
            waiter = ground.waiter()
            with driver.lock:
                left = _owed(net)
                news[:] = [waiter]
            if not left:
                return
            if left != owed:
                owed, until = left, driver.clock() + round(patience_s * SECOND)
            ground.wait(waiter, min(driver.clock() + round(_LOOK_S * SECOND), until))
    finally:
        with driver.entered() as net:
            net.tcp.observers.remove(moved)
            debtors = _debtors(net)
            for connection in debtors:
                net.tcp.reset(connection, 0)
        if debtors and not all(each.broken for each in driver.links.values()):
            ground.wait(ground.waiter(), driver.clock() + round(_LAST_WORD_S * SECOND))


def _let_go(net: NetStack) -> None:
    """Listeners, and connections that are no socket's: a service's, a layer's."""
    for listener in tuple(net.tcp.listeners.values()):
        listener.on_ready = None
        listener.close()
    for connection in tuple(net.tcp.connections.values()):
        if connection.state not in (SYN_SENT, SYN_RECEIVED):
            connection.on_ready = None
            connection.close()


def _debtors(net: NetStack) -> list[Tcb]:
    return [each for each in net.tcp.orphans if each.state not in _OWES_NOTHING]


def _owed(net: NetStack) -> int:
    """Octets that are not acknowledged, the FIN as one: 0 where nobody is owed anything."""
    return sum(1 + len(each.sendbuf) for each in _debtors(net))
