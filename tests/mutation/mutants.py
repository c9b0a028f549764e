"""Mutants of a module: what mutmut's operators make of its functions, one small change each.

mutmut writes all mutants of a module into a copy of it, behind a switch in every function, and starts pytest anew for
each. Here a mutant is a code object that a forked process puts into the living function: the rest of the program is
what it always is, at its own speed, and the tests are collected once.
"""

import gc
import hashlib
import importlib
import textwrap
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import create_mutations


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change in one function or method."""

    path: str  # of the file, from the root of the tree
    qualname: str
    first_line: int  # the change lies within the statement from here
    last_line: int  # to here
    function: libcst.FunctionDef
    start_line: int  # of the function
    original: libcst.CSTNode
    mutated: libcst.CSTNode
    was: str  # source of the function, outermost column first

    @cached_property
    def source(self) -> str:
        """Source of the mutated function."""
        return _source(libcst.ensure_type(self.function.deep_replace(self.original, self.mutated), libcst.FunctionDef))

    @cached_property
    def change(self) -> tuple[int, str, str]:
        """Line in the file, what stood there, and what stands there now, without blanks around."""
        old, new = self.was.splitlines(), self.source.splitlines()
        start = _alike(old, new)
        rest = _alike(old[: start - 1 if start else None : -1], new[: start - 1 if start else None : -1])
        changed = (old[start : len(old) - rest], new[start : len(new) - rest])
        was, becomes = ("\n".join(line.strip() for line in lines) for lines in changed)
        return self.start_line + start, was, becomes

    @cached_property
    def key(self) -> str:
        """Names the mutant as long as its line stays as it is."""
        return key_of(f"{self.path} {self.qualname}", *self.change[1:])

    def describe(self) -> str:
        """Tell where it is and what it changes."""
        line, was, becomes = self.change
        return "\n".join(
            (
                f"{self.path}:{line} {self.qualname} [{self.key}]",
                *(f"  - {text}" for text in was.splitlines()),
                *(f"  + {text}" for text in becomes.splitlines()),
            )
        )

    def install(self) -> None:
        """Put it into the living function of this process, for good."""
        module = importlib.import_module(".".join(Path(self.path).with_suffix("").parts))
        *owners, name = self.qualname.split(".")
        scope: dict[str, object] = dict(vars(module))
        living: object = module
        for owner in owners:
            living = getattr(living, owner)
            scope |= vars(living)
        living = _plain(vars(living)[name])
        changed = _compiled(self.source, owners, name, scope)
        was = _compiled(self.was, owners, name, scope)
        _replace_closures(living.__code__, changed.__code__)
        living.__code__ = changed.__code__.replace(co_filename=living.__code__.co_filename)
        if changed.__defaults__ != was.__defaults__:
            living.__defaults__ = changed.__defaults__
        if changed.__kwdefaults__ != was.__kwdefaults__:
            living.__kwdefaults__ = changed.__kwdefaults__


def key_of(where: str, was: str, becomes: str) -> str:
    """Give the key of a change in a function."""
    return hashlib.sha256(f"{where}\n{was}\n{becomes}".encode()).hexdigest()[:12]


def _alike(one: list[str], other: list[str]) -> int:
    """How many lines both have in common at their start."""
    for count, (line, twin) in enumerate(zip(one, other, strict=False)):
        if line != twin:
            return count
    return min(len(one), len(other))


def _source(function: libcst.FunctionDef) -> str:
    return libcst.Module([function.with_changes(leading_lines=(), lines_after_decorators=())]).code


def _plain(found: object) -> types.FunctionType:
    """Give the function itself of a method of any kind."""
    found = getattr(found, "__func__", found)
    if not isinstance(found, types.FunctionType):
        raise TypeError(f"{found!r} is no plain function")
    return found


def _compiled(source: str, owners: list[str], name: str, scope: dict[str, object]) -> types.FunctionType:
    """Make a function of its source; inside a class of the right name, so that super() and private names work."""
    if owners:
        source = f"class {owners[-1]}:\n{textwrap.indent(source, '    ')}"
    namespace = dict(scope)
    exec(compile(source, "<mutant>", "exec", dont_inherit=True), namespace)
    return _plain(vars(namespace[owners[-1]])[name] if owners else namespace[name])


def _replace_closures(old: types.CodeType, new: types.CodeType) -> None:
    """Give the new code to functions that the old code has made already, as a factory does while it is imported."""
    made = [[const for const in code.co_consts if isinstance(const, types.CodeType)] for code in (old, new)]
    for before, after in zip(*made, strict=False):
        if before.co_name == after.co_name and not before.co_name.startswith("<"):
            for function in gc.get_referrers(before):
                if isinstance(function, types.FunctionType):
                    function.__code__ = after


def mutants_of(path: str, text: str, outside: Counter[str] | None = None) -> Iterator[Mutant]:
    """Every mutant of the functions and methods in `text`, in the order of mutmut's operators.

    `outside` counts those that are left out, by path.
    """
    module, mutations, _, _ = create_mutations(path, text)
    positions = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    names = dict(_functions(module.body))
    statements: dict[libcst.FunctionDef, dict[libcst.CSTNode, tuple[int, int]]] = {}
    sources: dict[libcst.FunctionDef, str] = {}
    for mutation in mutations:
        function = mutation.contained_by_top_level_function
        if function not in names:  # a table or a class's own line, at work while the module is imported
            if outside is not None:
                outside[path] += 1
            continue
        if function not in statements:
            statements[function] = dict(_spans(function, positions, (0, 0)))
            sources[function] = _source(function)
        first, last = statements[function][mutation.original_node]
        yield Mutant(
            path,
            names[function],
            first,
            last,
            function,
            positions[function].start.line,
            mutation.original_node,
            mutation.mutated_node,
            sources[function],
        )


def _functions(body: object, owners: tuple[str, ...] = ()) -> Iterator[tuple[libcst.FunctionDef, str]]:
    for statement in body:
        if isinstance(statement, libcst.FunctionDef):
            yield statement, ".".join((*owners, statement.name.value))
        elif isinstance(statement, libcst.ClassDef) and not owners and isinstance(statement.body, libcst.IndentedBlock):
            yield from _functions(statement.body.body, (statement.name.value,))


def _spans(
    node: libcst.CSTNode, positions: object, span: tuple[int, int]
) -> Iterator[tuple[libcst.CSTNode, tuple[int, int]]]:
    """Each node below with the lines of the statement that it is part of; of a compound one that is its head.

    Of a function it is the whole: its defaults are at work in its body.
    """
    if isinstance(node, libcst.FunctionDef):
        span = (positions[node].start.line, positions[node].end.line)
    elif isinstance(node, (libcst.SimpleStatementLine, libcst.BaseCompoundStatement, libcst.ExceptHandler)):
        start = positions[node].start.line
        block = getattr(node, "body", None)
        end = positions[block].start.line - 1 if isinstance(block, libcst.IndentedBlock) else positions[node].end.line
        span = (start, max(start, end))
    yield node, span
    for child in node.children:
        yield from _spans(child, positions, span)
