"""TCP Fast Open (RFC 7413): the server's cookies and its count of pending requests, the client's cache.

A leaf: it knows nothing of connections and is told the time. `early` is where connections use it.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush
from typing import Any, NamedTuple

from scapystack.base.rng import keyed_hash
from scapystack.base.types import MILLISECOND, SECOND, Address, Nanoseconds

COOKIE_SIZE = 8
"""Octets of our cookies, of the 4 to 16 that RFC 7413 section 4.1.1 allows; Linux's are 8 too."""
CLIENT, SERVER = 1, 2
"""Bits of `TcpConfig.fastopen`."""
HOLD_NS = 60 * SECOND
"""How long a pending request counts that no handshake has completed, though it ended (section 5.1)."""
_MOST_FAILURES = 6  # 60 s doubled so often are 64 minutes


class ServerCookies:
    """Cookies that only we can make (RFC 7413 section 4.1.2): a keyed hash of both addresses.

    The key follows from a secret and the time: a new one every `period_ms` milliseconds, of which the one
    before is still accepted. So a cookie is good for one to two periods, and nothing is kept for a client.
    """

    __slots__ = ("_epoch", "_keys", "_period", "_secret")

    def __init__(self, secret: bytes, period_ms: int) -> None:
        self._secret = secret
        self._period = period_ms * MILLISECOND
        self._epoch = -1
        self._keys = (b"", b"")  # this period's, and the one before

    def cookie(self, client: Address, server: Address, now: Nanoseconds) -> bytes:
        """GetCookie: what `client` may show us later (1.5 us)."""
        return keyed_hash(self._keys_at(now)[0], COOKIE_SIZE, client, server)

    def valid(self, cookie: bytes, client: Address, server: Address, now: Nanoseconds) -> bool:
        """IsCookieValid: ours, for these addresses, and not expired."""
        return any(cookie == keyed_hash(key, COOKIE_SIZE, client, server) for key in self._keys_at(now))

    def _keys_at(self, now: Nanoseconds) -> tuple[bytes, bytes]:
        epoch = now // self._period
        if epoch != self._epoch:
            self._epoch = epoch
            this, before = (keyed_hash(self._secret, 32, n.to_bytes(8, "big", signed=True)) for n in (epoch, epoch - 1))
            self._keys = (this, before)
        return self._keys


class PendingRequests:
    """PendingFastOpenRequests of one listener (RFC 7413 sections 4.2 and 5.1).

    A completed handshake gives its place back at once. One that was reset or abandoned holds it until
    `HOLD_NS` after its SYN: else the resets of spoofed hosts would make room for more of the flood.
    """

    __slots__ = ("_count", "_until")

    def __init__(self) -> None:
        self._count = 0
        self._until: list[Nanoseconds] = []  # a heap: when places are free again

    def room(self, limit: int, now: Nanoseconds) -> bool:
        """Whether one more may be taken, of at most `limit`."""
        until = self._until
        while until and until[0] <= now:
            heappop(until)
        return self._count + len(until) < limit

    def begin(self) -> None:
        """Data was taken from a SYN."""
        self._count += 1

    def completed(self) -> None:
        """The handshake of one is done."""
        self._count -= 1

    def abandoned(self, began: Nanoseconds, now: Nanoseconds) -> None:
        """One whose SYN came at `began` has ended without a handshake."""
        self._count -= 1
        if began + HOLD_NS > now:
            heappush(self._until, began + HOLD_NS)


class FastOpen:
    """What one handshake has to do with Fast Open. It goes when the handshake is over.

    `cookie`: what our SYN or SYN-ACK says, empty to ask for one; None for nothing at all. `plain`: not any
    more, since it may be why nobody answered. `data`: octets that our SYN carried. `pending`: where a
    server counts it, the text of whose SYN was delivered; `began`: when.
    """

    __slots__ = ("began", "cookie", "data", "pending", "plain")

    def __init__(self, cookie: bytes | None, pending: PendingRequests | None = None, began: Nanoseconds = 0) -> None:
        self.cookie = cookie
        self.plain = False
        self.data = 0
        self.pending = pending
        self.began = began

    @property
    def option(self) -> bytes | None:
        """What the next SYN or SYN-ACK carries."""
        return None if self.plain else self.cookie


class Known(NamedTuple):
    """What a client remembers of a server: its cookie and its MSS."""

    cookie: bytes
    mss: int


class CookieCache:
    """A client's cookies by its own and the server's address, and the paths where Fast Open has failed.

    RFC 7413 section 4.1.3. Both tables hold at most `size` entries; the one unused for longest goes first.
    """

    __slots__ = ("_failed", "_known", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[tuple[Address, Address], Known] = OrderedDict()
        self._failed: OrderedDict[tuple[Address, Address, int], tuple[int, Nanoseconds]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, local: Address, remote: Address) -> Known | None:
        """The most recent cookie of a server, None without one."""
        known = self._known.get((local, remote))
        if known is not None:
            self._known.move_to_end((local, remote))
        return known

    def learn(self, local: Address, remote: Address, cookie: bytes | None, mss: int) -> None:
        """A SYN-ACK of this server had this cookie (None: none, the old one stands) and this MSS.

        Of a larger MSS the usual Ethernet one is kept: the data of a SYN should not meet a narrow path.
        """
        key = (local, remote)
        old = self._known.get(key)
        if cookie is None:
            if old is None:
                return
            cookie = old.cookie
        self._known[key] = Known(cookie, min(mss, 1460 if len(remote) == 4 else 1440))
        _trim(self._known, key, self._size)

    def allowed(self, local: Address, remote: Address, port: int, now: Nanoseconds) -> bool:
        """Whether Fast Open may be tried on this path: not while a failure is fresh (section 4.1.3.1)."""
        failure = self._failed.get((local, remote, port))
        return failure is None or failure[1] <= now

    def failed(self, local: Address, remote: Address, port: int, now: Nanoseconds) -> None:
        """It has failed there: leave it for a minute, after each failure in a row for twice as long."""
        key = (local, remote, port)
        count = min(self._failed.get(key, (0, 0))[0] + 1, _MOST_FAILURES + 1)
        self._failed[key] = (count, now + (HOLD_NS << (count - 1)))
        _trim(self._failed, key, self._size)

    def worked(self, local: Address, remote: Address, port: int) -> None:
        """It has worked there: nothing is held against the path any more."""
        self._failed.pop((local, remote, port), None)


def _trim(table: OrderedDict[Any, Any], newest: tuple[Any, ...], size: int) -> None:
    table.move_to_end(newest)
    while len(table) > size:
        table.popitem(last=False)
