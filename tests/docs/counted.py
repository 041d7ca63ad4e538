"""Every counter that the sources count, found in their syntax: `counters[NAME] += n`.

A name that is put together (`"tcp.drop." + reason`) is followed to where its parts come from: an assignment in the
same function, the strings that a function answers, or the arguments of those who call it. What cannot be
followed raises LookupError, so that no counter is overlooked in silence.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).parents[2]
ROOMS = (ROOT / "scapystack", ROOT / "layers")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Sources:
    """The syntax of all rooms, or of what is given."""

    def __init__(self, *trees: ast.AST) -> None:
        self.functions: dict[str, list[Function]] = defaultdict(list)
        self.calls: dict[str, list[tuple[ast.Call, Function | None]]] = defaultdict(list)
        self.constants: dict[str, ast.expr] = {}
        self.counts: list[tuple[ast.expr, Function | None]] = []
        for tree in trees or _every_tree():
            self._read(tree, None)

    def _read(self, node: ast.AST, function: Function | None) -> None:
        if isinstance(node, Function):
            self.functions[node.name].append(node)
            function = node
        elif isinstance(node, ast.Assign) and function is None and isinstance(node.targets[0], ast.Name):
            self.constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.Call):
            self.calls[_last_name(node.func)].append((node, function))
        elif isinstance(node, ast.AugAssign) and _is_counters(node.target):
            self.counts.append((node.target.slice, function))
        for child in ast.iter_child_nodes(node):
            self._read(child, function)

    def names(self) -> set[str]:
        """Every counter."""
        every = set()
        for key, function in self.counts:
            names = self.values(key, function)
            if not names:
                raise LookupError(f"line {key.lineno}: {ast.unparse(key)} is never called by a name")
            every |= names
        return every

    def values(self, node: ast.expr, function: Function | None) -> set[str]:
        """The strings that an expression in `function` may be; what is no string is left out."""
        match node:
            case ast.Constant(value=value):
                return {value} if isinstance(value, str) else set()
            case ast.IfExp(body=body, orelse=other):
                return self.values(body, function) | self.values(other, function)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([self.values(left, function), self.values(right, function)])
            case ast.JoinedStr(values=parts):
                return _joined([self.values(part, function) for part in parts])
            case ast.FormattedValue(value=value):
                return self.values(value, function)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=table), attr="get"), args=[_, default]):
                return self.values(self.constants[table], None) | self.values(default, function)
            case ast.Dict(values=held):
                return {each for value in held for each in self.values(value, None)}
            case ast.Call(func=called):
                return self._answers(_last_name(called))
            case ast.Name(id=name) if function is not None:
                return self._variable(name, function)
        raise LookupError(f"line {node.lineno}: {ast.unparse(node)}")

    def _answers(self, name: str) -> set[str]:
        """The strings that functions of that name return."""
        found = self.functions.get(name)
        if not found:
            raise LookupError(f"{name}() is not ours")
        returned = [
            node.value for f in found for node in ast.walk(f) if isinstance(node, ast.Return) and node.value is not None
        ]
        return {each for value in returned for each in _strings(value)} - {""}

    def _variable(self, name: str, function: Function) -> set[str]:
        parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
        if name in parameters:
            at = parameters.index(name)
            callers = [(call, where) for call, where in self.calls[function.name] if _fits(call, parameters)]
            return {value for call, where in callers for value in self.values(call.args[at], where)}
        assigned = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and name in map(_last_name, node.targets)
        ]
        if not assigned:
            raise LookupError(f"line {function.lineno}: {name} in {function.name}")
        return {value for node in assigned for value in self.values(node, function)} - {""}


def _every_tree() -> Iterator[ast.AST]:
    for room in ROOMS:
        for path in sorted(room.rglob("*.py")):
            if path.resolve() == path:  # not the layers again, by the link to them
                yield ast.parse(path.read_text(), path)


def _is_counters(target: ast.expr) -> TypeGuard[ast.Subscript]:
    return isinstance(target, ast.Subscript) and _last_name(target.value) in ("counters", "_counters")


def _fits(call: ast.Call, parameters: list[str]) -> bool:
    """Whether a call can be of the function with these parameters, and not of another of its name."""
    return len(call.args) == len(parameters) and not call.keywords


def _last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _strings(node: ast.expr) -> set[str]:
    """Those that stand in a returned expression."""
    if isinstance(node, ast.IfExp):
        return _strings(node.body) | _strings(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def _joined(parts: list[set[str]]) -> set[str]:
    def join(rest: list[set[str]]) -> Iterator[str]:
        if not rest:
            yield ""
            return
        for tail in join(rest[1:]):
            for head in rest[0]:
                yield head + tail

    return set(join(parts))
