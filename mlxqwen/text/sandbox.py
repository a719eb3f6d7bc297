"""A Jinja environment in which a template can neither touch Python nor run without end.

Chat templates come with downloaded checkpoints, so they are untrusted programs. Jinja's sandbox
keeps them away from attributes and mutation; it does not bound time or memory. Here every render
carries a ``Budget``, and whatever can take long or grow is charged to it before it happens:

* each turn of a loop, each call of a macro: the size of its body (nodes inserted by ``_Meter``);
* each filter, test, method and operator: the sizes of its operands, nested values included where
  it reads them to the bottom (comparing, printing, sorting, hashing);
* each string that is made: one unit per 64 characters.

"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sized
from datetime import datetime
from types import BuiltinMethodType
from typing import Any, NoReturn, cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

from .budget import charge_format, charge_growth, charge_method, counted, current, settled, shallow

_MAX_BITS = 65_536  # of an integer: enough for any date or count, small enough to multiply


class Refused(jinja2.TemplateError):
    """The template called ``raise_exception``."""


# Charges that `_Meter` writes into a template. Their names contain a space, so that no template
# can spell them; taking the context keeps Jinja from folding them away at compile time.


@pass_context
def _charge_loop(context: Context, iterable: Any, weight: int) -> Any:
    if isinstance(iterable, Iterator):
        return counted(iterable, weight)  # pyright: ignore[reportUnknownArgumentType]
    current().spend(weight * shallow(iterable))
    return iterable


@pass_context
def _charge_steps(context: Context, steps: int) -> int:
    current().spend(steps)
    return steps


@pass_context
def _charge_copy(context: Context, value: Any) -> Any:
    current().spend(shallow(value))
    return value


@pass_context
def _charge_depth(context: Context, value: Any) -> Any:
    current().measure(value)
    return value


def _printed(value: Any) -> Any:
    """Jinja's ``finalize``: called with the value of every ``{{ expression }}``."""
    current().measure(value)
    return value


class _Meter(NodeTransformer):
    """Writes the charges into a parsed template."""

    def _wrap(self, node: nodes.Expr, charge: str, *args: nodes.Expr) -> nodes.Expr:
        return nodes.Filter(node, charge, list(args), [], None, None, lineno=node.lineno)

    def _deep(self, node: nodes.Expr) -> nodes.Expr:
        return node if isinstance(node, nodes.Const) else self._wrap(node, "charge depth")

    def _toll(self, body: list[nodes.Node], lineno: int) -> nodes.Node:
        """A statement that charges for running ``body`` once, its literal text included."""
        count = 1
        for child in body:
            for node in (child, *child.find_all(nodes.Node)):
                count += 1
                if isinstance(node, nodes.TemplateData):
                    count += len(node.data) >> 6
        steps = nodes.Const(1 + count // 4, lineno=lineno)
        return nodes.ExprStmt(self._wrap(steps, "charge steps"), lineno=lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        toll = self._toll([*node.body, *([node.test] if node.test else [])], node.lineno)
        weight = 1 + (sum(1 for _ in node.test.find_all(nodes.Node)) if node.test else 0)
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        each = nodes.Const(weight, lineno=node.lineno)
        node.iter = self._wrap(node.iter, "charge loop", each)
        node.body.insert(0, toll)
        return node

    def _visit_body(self, node: nodes.Macro | nodes.CallBlock | nodes.Block) -> nodes.Node:
        toll = self._toll(node.body, node.lineno)
        self.generic_visit(node)
        node.body.insert(0, toll)
        return node

    visit_Macro = visit_CallBlock = visit_Block = _visit_body

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = self._deep(node.expr)
        for operand in node.ops:
            operand.expr = self._deep(operand.expr)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [self._deep(part) for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = self._wrap(node.node, "charge copy")
        else:
            node.arg = self._deep(node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = self._deep(node.key)
        return node


class _Generation(Extension):
    """``{% generation %}…{% endgeneration %}`` marks the model's words for training: plain here."""

    tags = {"generation"}  # noqa: RUF012 - Jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


class _Namespace(Namespace):
    """Prints as its name only: its attributes may refer to it, or to much too much."""

    def __repr__(self) -> str:
        return "<Namespace>"


def _raise_exception(message: Any) -> NoReturn:
    raise Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face renders it: no HTML escaping, Unicode as it is."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


# Filters that look at the outermost level only; all others are charged to the bottom.
_FLAT = frozenset(
    "attr batch count d default first items last length list map random reject rejectattr reverse "
    "safe select selectattr slice".split()
)
_COPYING = frozenset(("batch", "list", "reverse", "slice"))
_SIZED: tuple[type[Any], ...] = (str, list, tuple, dict)
_DEEP_TESTS = frozenset("!= < <= == > >= eq equalto ge greaterthan gt in le lessthan lower lt ne "
                        "upper".split())  # fmt: skip
# Several hundred nanoseconds per character instead of a few.
_SLOW = frozenset("pprint striptags title urlize wordcount wordwrap xmlattr".split())
# Methods no template needs, with results far larger than what they are given.
_UNSAFE_METHODS = frozenset("encode expandtabs from_bytes maketrans to_bytes translate".split())


def _metered(name: str, function: Callable[..., Any], *, deep: bool) -> Callable[..., Any]:
    """``function``, a filter or test, paying for what it is given and for what it returns."""

    @functools.wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        budget = current()
        skip = 1 if isinstance(args[0], Context | EvalContext | jinja2.Environment) else 0
        given = args[skip:]
        if deep:
            given = settled(given)
            cost = budget.measure((given, kwargs))
            if name in _SLOW:
                budget.spend(63 * cost)
        else:
            budget.spend(1 + sum(shallow(a) for a in given[1:]))
            if name in _COPYING and isinstance(given[0], Sized):
                budget.spend(len(given[0]))
        charge_growth(name, given, kwargs)
        result = function(*args[:skip], *given, **kwargs)
        if isinstance(result, Iterator):
            return counted(result)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(result, _SIZED):
            budget.spend(shallow(result))
        return result

    return metered


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The environment Hugging Face gives to chat templates, metered."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=_printed,
            cache_size=0,
        )
        helpers = cast(dict[str, Any], self.globals)
        del helpers["lipsum"]
        helpers["namespace"] = _Namespace
        helpers["raise_exception"] = _raise_exception
        helpers["strftime_now"] = _strftime_now
        filters = cast(dict[str, Callable[..., Any]], self.filters)
        filters["tojson"] = _tojson
        for name, function in filters.items():
            filters[name] = _metered(name, function, deep=name not in _FLAT)
        filters["charge loop"] = _charge_loop
        filters["charge steps"] = _charge_steps
        filters["charge copy"] = _charge_copy
        filters["charge depth"] = _charge_depth
        tests = cast(dict[str, Callable[..., Any]], self.tests)
        for name, function in tests.items():
            tests[name] = _metered(name, function, deep=name in _DEEP_TESTS)

    def compiled(self, source: str) -> jinja2.Template:
        """A template from its source. Raises what Jinja raises, and ``BudgetSpent``."""
        tree = self.parse(source)
        _Meter().visit(tree)
        for node in tree.find_all(nodes.Node):
            node.environment = self
        return jinja2.Template.from_code(self, self.compile(tree), self.make_globals(None))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _UNSAFE_METHODS and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        if attribute.startswith("_"):  # by itself Jinja would print it as nothing
            raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is out of its reach")
        return super().unsafe_undefined(obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        safe = super().wrap_str_format(value)
        if safe is None:
            return None
        form = str(value.__self__)

        def metered(*args: Any, **kwargs: Any) -> str:
            charge_format(form, *args, *kwargs.values())
            return safe(*args, **kwargs)

        return metered

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        # Named as in Jinja: the template may pass keyword arguments of any name.
        budget = current()
        if isinstance(__obj, Macro):
            budget.spend(1 + sum(shallow(a) for a in args))
        else:
            args = settled(args)
            budget.measure((args, kwargs))
        if isinstance(__obj, BuiltinMethodType):
            charge_method(__obj.__self__, __obj.__name__, args, kwargs)
        result: Any = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, _SIZED):
            budget.spend(shallow(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = current()
        match operator, left, right:
            case "%", str(), _:
                charge_format(left, right)
            case "*", int(), int():
                if left.bit_length() + right.bit_length() > _MAX_BITS:
                    raise OverflowError("a number grows too large")
            case "*", _, int() if isinstance(left, Sized):
                budget.spend(max(0, right) * len(left) // (64 if isinstance(left, str) else 1))
            case "*", int(), _ if isinstance(right, Sized):
                budget.spend(max(0, left) * len(right) // (64 if isinstance(right, str) else 1))
            case "**", int(), int():
                if left.bit_length() * max(0, right) > _MAX_BITS:
                    raise OverflowError("a number grows too large")
            case "+", _, _:
                budget.spend(shallow(left) + shallow(right))
            case _:
                budget.spend(1)
        return super().call_binop(context, operator, left, right)
