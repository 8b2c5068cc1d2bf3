"""Mutations of Python source: small changes that a test should notice, one at a time.

They keep away from what no test should check: docstrings, annotations, and the texts of messages.
"""

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

SWAPPED: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
RENAMED = {
    one: other
    for pair in ("min max", "minimum maximum", "any all", "argmin argmax", "floor ceil", "sum mean", "zeros ones")
    for one, other in (pair.split(), pair.split()[::-1])
}
FIELDS_LEFT_OUT = {"annotation", "returns", "type_params", "type_comment", "decorator_list", "bases"}


class Mutation(NamedTuple):
    """One change: the `option`-th replacement of the `place`-th node."""

    place: int
    option: int
    line: int
    what: str


def mutations(source: str) -> list[Mutation]:
    """All mutations of a module, in the order of its text."""
    return [
        Mutation(place, option, getattr(node, "lineno", 0), f"{_short(node)} -> {_short(new)}")
        for place, (_, node) in enumerate(_places(ast.parse(source)))
        for option, new in enumerate(_replacements(node))
    ]


def mutated(source: str, mutation: Mutation) -> ast.Module:
    """The module with one mutation, ready to be compiled."""
    tree = ast.parse(source)
    (holder, key), node = list(_places(tree))[mutation.place]
    holder[key] = ast.copy_location(list(_replacements(node))[mutation.option], node)
    return ast.fix_missing_locations(tree)


def _places(node: ast.AST) -> Iterator[tuple[tuple[Any, Any], ast.AST]]:
    """Every node that may be replaced, with the dictionary or list that holds it and its key there."""
    for name, value in ast.iter_fields(node):
        if name in FIELDS_LEFT_OUT or (isinstance(node, ast.Raise) and name == "exc"):
            continue
        holder: Any = value if isinstance(value, list) else vars(node)
        keys = range(len(value)) if isinstance(value, list) else [name]
        for key in keys:
            child = holder[key]
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom):
                yield (holder, key), child
                yield from _places(child)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in SWAPPED[type(op)]:
                    yield _with(node, ops=[*ops[:place], other(), *ops[place + 1 :]])
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            for other in SWAPPED.get(type(op), ()):
                yield _with(node, op=other())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Slice(lower=lower, upper=upper):
            if lower is not None:
                yield _with(node, lower=None)
            if upper is not None:
                yield _with(node, upper=None)
        case ast.Attribute(attr=name) if name in RENAMED:
            yield _with(node, attr=RENAMED[name])
        case ast.Name(id=name) if name in RENAMED:
            yield _with(node, id=RENAMED[name])
        case ast.Call(args=arguments, keywords=keywords):
            if len(arguments) > 1:
                yield _with(node, args=arguments[:-1])
            for place in range(len(keywords)):
                yield _with(node, keywords=[*keywords[:place], *keywords[place + 1 :]])
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield _with(node, value=ast.Constant(None))
        case ast.Raise() | ast.Delete() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Call()):
            yield ast.Pass()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _short(node: ast.AST) -> str:
    """The node's source on one line, a compound statement by its first one."""
    line = ast.unparse(node).split("\n")[0]
    return line if len(line) <= 100 else f"{line[:97]}..."
