"""Network namespaces: running a function inside one, making one, removing one.

A namespace is entered by a short-lived thread, never by the caller's: descriptors that are opened
there belong to the namespace and stay usable everywhere. That needs no fork (this process may have
threads) and works beside a running asyncio loop. A namespace is named as `ip netns` names it, or by
a path such as /proc/123/ns/net.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from scapystack.base.errors import LinkError

T = TypeVar("T")

RUN_NETNS = "/run/netns"
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 0x100000
_MNT_DETACH = 2


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def namespace_path(name: str) -> str:
    """The file that stands for a namespace."""
    return name if "/" in name else f"{RUN_NETNS}/{name}"


def exists(name: str) -> bool:
    """Whether there is such a namespace."""
    return os.path.exists(namespace_path(name))


def in_namespace(name: str | None, function: Callable[[], T]) -> T:
    """What `function` returns, run in a thread of its own inside the namespace (None: ours).

    What it raises is raised here. Raises LinkError where the namespace cannot be entered.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            if name is not None:
                _enter(name)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name=f"in-netns-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # CPython 3.12 starts no thread any more once atexit functions run
        return _there_and_back(name, function)
    try:
        thread.join()
    except BaseException:
        thread.join()  # Ctrl-C or a signal: what it does is short, and its outcome should be known before we go on
        raise
    if errors:
        raise errors[0]
    return results[0]


def _there_and_back(name: str | None, function: Callable[[], T]) -> T:
    """The same in the calling thread, at the end of the program."""
    if name is None:
        return function()
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(name)
        return function()
    finally:
        _check(_libc().setns(here, _CLONE_NEWNET))
        os.close(here)


def _enter(name: str) -> None:
    """Move the calling thread into the namespace."""
    try:
        fd = os.open(namespace_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LinkError(f"there is no network namespace {name} (`ip netns` lists them)") from None
    except OSError as error:
        raise LinkError(f"cannot enter network namespace {name}: {error.strerror}") from None
    try:
        _check(_libc().setns(fd, _CLONE_NEWNET))
    except OSError as error:
        raise LinkError(f"cannot enter network namespace {name}: {_advice(error)}") from None
    finally:
        os.close(fd)


def create(name: str) -> None:
    """Make a namespace with a name, its loopback still down. Raises LinkError."""
    path = namespace_path(name)
    try:
        _prepare_run_netns()
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        raise LinkError(f"there is a network namespace {name} already") from None
    except OSError as error:
        raise LinkError(f"cannot make network namespace {name}: {_advice(error)}") from None

    def body() -> None:
        libc = _libc()
        _check(libc.unshare(_CLONE_NEWNET))
        # the calling thread's own link: /proc/self/ns would be the main thread's
        source = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _check(libc.mount(source.encode(), path.encode(), b"none", _MS_BIND, None))

    try:
        in_namespace(None, body)
    except OSError as error:
        os.unlink(path)
        raise LinkError(f"cannot make network namespace {name}: {_advice(error)}") from None


def _prepare_run_netns() -> None:
    """As ip-netns(8) does it: a shared mount, so that removing a name removes it everywhere."""
    os.makedirs(RUN_NETNS, mode=0o755, exist_ok=True)
    libc = _libc()
    directory = RUN_NETNS.encode()
    # the kernel is asked, for os.path.ismount sees no bind mount within one file system; a second bind
    # would double every mount below
    if libc.mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:  # EINVAL: no mount point yet
        _check(-1)
    _check(libc.mount(directory, directory, b"none", _MS_BIND | _MS_REC, None))
    _check(libc.mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None))


def remove(name: str) -> None:
    """Take the name away; the namespace ends with its last user. Raises LinkError."""
    path = namespace_path(name)
    try:
        libc = _libc()
        if libc.umount2(path.encode(), _MNT_DETACH) != 0 and ctypes.get_errno() != errno.EINVAL:
            _check(-1)
        os.unlink(path)
    except FileNotFoundError:
        raise LinkError(f"there is no network namespace {name}") from None
    except OSError as error:
        raise LinkError(f"cannot remove network namespace {name}: {_advice(error)}") from None


def _advice(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "that takes root (CAP_SYS_ADMIN)"
    return error.strerror or str(error)
