"""What several of the socket tests ask."""

import select

import pytest


def levels(sock):
    """Whether select says that the socket is readable, and writable."""
    readable, writable, _ = select.select([sock], [sock], [], 0)
    return bool(readable), bool(writable)


def errno_of(call, *args):
    """The errno of the OSError that the call must raise."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is what is compared
        call(*args)
    return caught.value.errno
