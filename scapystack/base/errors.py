"""Errors that a person or a program sees. Bytes from the wire never raise: they are counted.

Socket calls raise the standard exceptions (`ConnectionRefusedError`, `TimeoutError`, ...) with
their errno, made by `os_error`; these are for what the socket module has no name for.
"""

import errno as _errno


class ScapystackError(Exception):
    """Base of our own errors; its text is one line that says what to do."""


class ConfigError(ScapystackError, ValueError):
    """A setting or an argument that cannot be used."""


class LinkError(ScapystackError):
    """A link (TAP, namespace, bridge) that could not be set up."""


class CodecMismatch(ScapystackError):
    """Codec mode `paranoid` found the compiled codec and Scapy at odds. A bug in one of them."""


_TEXT = {
    _errno.ENOTCONN: "Transport endpoint is not connected",
    _errno.EISCONN: "Transport endpoint is already connected",
    _errno.ECONNREFUSED: "Connection refused",
    _errno.ECONNRESET: "Connection reset by peer",
    _errno.ECONNABORTED: "Software caused connection abort",
    _errno.EPIPE: "Broken pipe",
    _errno.ETIMEDOUT: "Connection timed out",
    _errno.EADDRINUSE: "Address already in use",
    _errno.EADDRNOTAVAIL: "Cannot assign requested address",
    _errno.ENETUNREACH: "Network is unreachable",
    _errno.EHOSTUNREACH: "No route to host",
    _errno.ENOPROTOOPT: "Protocol not available",
    _errno.EPROTO: "Protocol error",
    _errno.EMSGSIZE: "Message too long",
    _errno.EINVAL: "Invalid argument",
    _errno.EBADF: "Bad file descriptor",
    _errno.EAGAIN: "Resource temporarily unavailable",
    _errno.EINPROGRESS: "Operation now in progress",
    _errno.EALREADY: "Operation already in progress",
    _errno.EOPNOTSUPP: "Operation not supported",
    _errno.EDESTADDRREQ: "Destination address required",
    _errno.EACCES: "Permission denied",
    _errno.ENOBUFS: "No buffer space available",
    _errno.ENETDOWN: "Network is down",
    _errno.ENODEV: "No such device",
    _errno.ENOPROTOOPT: "Protocol not available",
    _errno.EAFNOSUPPORT: "Address family not supported by protocol",
}


def os_error(number: int) -> OSError:
    """The standard exception for an errno: `os_error(ECONNRESET)` is a `ConnectionResetError`."""
    return OSError(number, _TEXT.get(number, _errno.errorcode.get(number, "Unknown error")))
