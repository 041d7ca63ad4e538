"""`Program`: a filter expression of pcap-filter(7), run by libpcap, and what it may say of octets known in part.

Read `filters` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scapystack.base.errors import ConfigError

if TYPE_CHECKING:
    from scapystack.base.types import Buffer

_DLT_EN10MB = 1
# the instruction set (McCanne and Jacobson, 1993; bpf(4)): what of it libpcap's code for addresses and ports is made of
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET = range(7)
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
_IMM, _ABS, _IND, _MSH = 0x00, 0x20, 0x40, 0xA0
_JA, _JEQ, _JGT, _JGE, _JSET = 0x00, 0x10, 0x20, 0x30, 0x40
_AND, _X, _TAX, _RET_A = 0x50, 0x08, 0x00, 0x10
_SIGN = 0x8000_0000
_MAX_STATES = 5_000

State = tuple[int, int | None, int | None]
"""Where a program is, and its registers A and X; None for what is not known."""


class Program:
    """A filter expression as a test for the octets of Ethernet frames. 0.7 us a frame.

    Raises ConfigError: an expression that libpcap does not take, or no libpcap on this machine.
    """

    __slots__ = ("__weakref__", "_code", "_program", "_run", "_steps")

    def __init__(self, expression: str) -> None:
        import ctypes  # noqa: PLC0415 - for whoever filters, with Scapy's bindings
        import weakref  # noqa: PLC0415

        from scapy.arch.common import compile_filter  # noqa: PLC0415
        from scapy.error import Scapy_Exception  # noqa: PLC0415

        try:
            program = compile_filter(expression, linktype=_DLT_EN10MB)
        except ImportError:
            raise ConfigError(
                f"the filter {expression!r} needs libpcap (Debian: apt install libpcap0.8); a function or fields do not"
            ) from None
        except Scapy_Exception as error:
            raise ConfigError(f"{expression!r} is no filter: {error}") from None
        from scapy.libs.winpcapy import _lib as libpcap  # noqa: PLC0415

        self._run = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)(
            ("bpf_filter", libpcap)
        )
        self._code = ctypes.cast(program.bf_insns, ctypes.c_void_p)
        self._steps = [(i.code, i.jt, i.jf, i.k & 0xFFFFFFFF) for i in program.bf_insns[: program.bf_len]]
        weakref.finalize(self, libpcap.pcap_freecode, program)

    def __call__(self, octets: Buffer) -> bool:
        """Whether it takes them."""
        data = octets if type(octets) is bytes else bytes(octets)
        return bool(self._run(self._code, data, len(data), len(data)))

    def may_take(self, known: Mapping[int, int]) -> bool:
        """Whether it may take octets of which these are `known` (by their offset): False only where it takes none such.

        The program is walked on what is known; where it turns on anything else, both ways. `protochain` makes loops:
        a state that was met is not entered again.
        """
        todo: list[State] = [(0, 0, 0)]
        met: set[State] = set()
        while todo:
            state = todo.pop()
            if state in met:
                continue
            met.add(state)
            if len(met) > _MAX_STATES:
                return True
            at, a, x = state
            code, then, other, k = self._steps[at]
            kind = code & 7
            if kind == _RET:
                value = a if code & 0x18 == _RET_A else k
                if value != 0:
                    return True
            elif kind == _JMP:
                taken = _jumps(code, a, k)
                if taken is None:
                    todo += [(at + 1 + then, a, x), (at + 1 + other, a, x)]
                else:
                    ahead = (k ^ _SIGN) - _SIGN if code & 0xF0 == _JA else then if taken else other
                    todo.append((at + 1 + ahead, a, x))
            elif kind == _LD:
                todo.append((at + 1, _loaded(code, k, x, known), x))
            elif kind == _LDX:
                todo.append((at + 1, a, _loaded(code, k, x, known)))
            elif kind == _ALU:
                todo.append((at + 1, a & k if code == _ALU | _AND and a is not None else None, x))
            elif kind in (_ST, _STX):  # what is read back counts as unknown
                todo.append((at + 1, a, x))
            else:
                todo.append((at + 1, a, a) if code & 0xF8 == _TAX else (at + 1, x, x))
        return False


def _loaded(code: int, k: int, x: int | None, known: Mapping[int, int]) -> int | None:
    """What a load gives, where that is known."""
    mode = code & 0xE0
    if mode == _IMM:
        return k
    if mode == _MSH:
        octet = known.get(k)
        return None if octet is None else (octet & 0xF) << 2
    if mode == _IND and x is not None:
        k += x
    elif mode != _ABS:  # the length, and what was stored
        return None
    value = 0
    for offset in range(k, k + _SIZES[code & 0x18]):
        octet = known.get(offset)
        if octet is None:
            return None
        value = value << 8 | octet
    return value


def _jumps(code: int, a: int | None, k: int) -> bool | None:
    """Whether a condition holds; None where that is not known."""
    kind = code & 0xF0
    if kind == _JA:
        return True
    if a is None or code & _X:
        return None
    if kind == _JEQ:
        return a == k
    if kind == _JGT:
        return a > k
    if kind == _JGE:
        return a >= k
    return bool(a & k)
