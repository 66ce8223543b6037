"""Terms, and equations between them that are shown and checked alike: arithmetic over names, reckoned with the terms' own values.

A study's identities are such equations by name: `cost_usd_per_mtok` is `cost_usd / served_mtok`. A `Walk` follows them from a column of a row down to
what has no equation: a figure, what somebody decided, a term of an operating point. What a term's parts give is held against the term's own value.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accelmodel.catalog.figures import Figure
from accelmodel.columns import COLUMNS, column
from accelmodel.economics.annuities import capital_recovery_factor
from accelmodel.units import unit

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Term:
    """A quantity, and either the parts that make it or where it comes from.

    `symbol` is what the equation that it is a part of calls it; `gives` is what the equation's parts come to where that is not the value.
    """

    name: str
    value: Value
    unit: str = "1"
    equation: str | None = None
    parts: tuple[Term, ...] = ()
    kind: str | None = None
    low: float | None = None
    high: float | None = None
    source: str | None = None
    date: str | None = None
    note: str | None = None
    symbol: str | None = None
    gives: Value = None

    def to_dict(self) -> dict[str, Any]:
        """The tree as plain values, absent ones left out."""
        kept = {key: value for key, value in vars(self).items() if value is not None and key != "parts"}
        return kept | ({"parts": [part.to_dict() for part in self.parts]} if self.parts else {})

    @property
    def sources(self) -> Iterator[str]:
        """Keys of all sources below, in order of appearance."""
        if self.source is not None:
            yield self.source
        for part in self.parts:
            yield from part.sources


def of_figure(name: str, figure: Figure) -> Term:
    """A figure of the catalogue, as it stands there."""
    return Term(
        name,
        figure.value,
        figure.unit,
        figure.formula,
        kind=figure.kind,
        low=figure.low,
        high=figure.high,
        source=figure.source,
        date=figure.date,
        note=figure.note,
    )


def given(name: str, value: Value, where: str, unit: str | None = None) -> Term:
    """What somebody decided."""
    return Term(name, value, (COLUMNS[name].unit if name in COLUMNS else "1") if unit is None else unit, kind="given", note=where)


_SAME = 1e-9  # difference, of the largest part, within which parts make a value
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "CRF": lambda rate, years: float(capital_recovery_factor(rate, years)),
    "ceil": lambda value: math.ceil(value * (1 - 1e-12)),  # forgives what rounding of floats put on top of a whole number
    "floor": math.floor,
    "max": max,
    "min": min,
    "round": round,
}
# What a name that is no column ends in says its unit.
_ENDS = {
    "usd_per_mtok": "USD/Mtok",
    "usd_per_h": "USD/h",
    "usd_per_day": "USD/day",
    "usd_per_year": "USD/year",
    "usd": "USD",
    "mtok_per_h": "Mtok/h",
    "mtok_per_year": "Mtok/year",
    "mtok": "Mtok",
    "tokens_per_s": "token/s",
    "requests_per_s": "request/s",
    "mw": "MW",
    "w": "W",
    "years": "year",
}
# The unit in which an equation takes a figure, by dimension.
_UNITS = {"time": "year", "frequency": "1/year", "money per energy": "USD/kWh", "money per power": "USD/W", "ratio": "1", "power": "W"}
_UNITS |= {
    "mass per energy": "kg/kWh",
    "volume per energy": "liter/kWh",
    "money per accelerator and time": "USD/accelerator/year",
    "money per accelerator": "USD/accelerator",
}


class Equation:
    """An equation's right side: numbers, names, + - * / **, < >, and CRF (capital recovery factor), ceil, floor, max, min, round.

    >>> Equation("price * (1 - discount)").names
    ('price', 'discount')
    >>> Equation("max(price - cost, 0)").value({"price": 3.0, "cost": 2.0})
    1.0
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tree = ast.parse(text, mode="eval").body

    @property
    def names(self) -> tuple[str, ...]:
        """Names in it, in order of appearance."""
        found = [node for node in ast.walk(self._tree) if isinstance(node, ast.Name) and node.id not in _FUNCTIONS]
        return tuple(dict.fromkeys(node.id for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))))

    def value(self, values: Mapping[str, Any]) -> Any:
        """What it comes to."""

        def of(node: ast.AST) -> Any:
            match node:
                case ast.Constant(value):
                    return value
                case ast.Name(name):
                    return values[name]
                case ast.BinOp(left, sign, right) | ast.Compare(left, [sign], [right]):
                    return _OPERATORS[type(sign)](of(left), of(right))
                case ast.UnaryOp(sign, operand):
                    return _OPERATORS[type(sign)](of(operand))
                case ast.Call(ast.Name(name), arguments):
                    return _FUNCTIONS[name](*(of(one) for one in arguments))
            raise ValueError(f"'{self.text}' is more than arithmetic: {ast.dump(node)}")

        return of(self._tree)


equation = functools.lru_cache(maxsize=1024)(Equation)


def unit_of(name: str) -> str:
    """The unit of a term by its name: its column's, or what its name ends in.

    >>> unit_of("cost_usd_per_mtok"), unit_of("idle_hour_usd_per_h"), unit_of("factor")
    ('USD/Mtok', 'USD/h', '1')
    """
    if name in COLUMNS:
        return COLUMNS[name].unit
    return next((_ENDS[end] for end in _ENDS if f"_{name}".endswith(f"_{end}")), "1")


def is_same(one: Any, other: Any, size: float = 0.0) -> bool:
    """Whether two values are the same number (as measured by `size`, where that is larger than both), or equal."""
    numbers = all(isinstance(value, (int, float)) for value in (one, other))
    return math.isclose(one, other, rel_tol=_SAME, abs_tol=_SAME * size) if numbers else bool(one == other)


def equated(name: str, value: Value, text: str, find: Callable[[str], Term], of_unit: str | None = None) -> Term:
    """A term of an equation with its parts; a `value` that they do not give is kept, and what they give stands beside it."""
    right = equation(text)
    parts = tuple(dataclasses.replace(find(symbol), symbol=symbol) for symbol in right.names)
    found = right.value({name: part.value for name, part in zip(right.names, parts, strict=True)})
    sizes = [abs(float(part.value)) for part in parts if isinstance(part.value, (int, float))] if _is_sum(text) else []
    gives = None if value is None or is_same(value, found, max(sizes, default=0.0)) else found
    return Term(name, found if value is None else value, of_unit or unit_of(name), text, parts, gives=gives)


def _is_sum(text: str) -> bool:
    """Whether large parts may leave little, so that rounding is measured by them."""
    return "-" in text or "+" in text


def total(names: Iterable[str]) -> str:
    """The sum of some terms as an equation."""
    return " + ".join(names)


def made(name: str, text: str, parts: Mapping[str, Term], value: Value = None, of_unit: str | None = None) -> Term:
    """A term of an equation between parts that are there already, by symbol."""
    return equated(name, value, text, parts.__getitem__, of_unit)


def summed(name: str, parts: Mapping[str, Term], text: str = "{}", of_unit: str | None = None) -> Term:
    """The sum of parts, by symbol; of none it is nothing."""
    if not parts:
        return Term(name, 0.0, of_unit or unit_of(name), note="none")
    return made(name, text.format(total(parts)), parts, of_unit=of_unit)


def figure(name: str, of: Figure) -> Term:
    """A figure in the unit in which equations take figures of its dimension."""
    term, to = of_figure(name, of), _UNITS.get(of.dimension, of.unit)
    factor = unit(of.unit).factor / unit(to).factor
    if math.isclose(factor, 1.0):
        return term
    low, high = (None if end is None else end * factor for end in (of.low, of.high))
    return dataclasses.replace(term, value=of.value * factor, unit=to, low=low, high=high)


Maker = Callable[[], Term]


class Walk:
    """Terms by name: of its equation where a name has one, as its maker makes it, or else as the row has it.

    `values` is the row, whose numbers stand; what it has not is what the parts give. `units` are those that names do not say.
    """

    def __init__(self, values: Mapping[str, Any], equations: Mapping[str, str], makers: Mapping[str, Maker], units: Mapping[str, str] | None = None) -> None:
        self.values, self.equations, self.makers, self.units = values, equations, makers, units or {}
        self._made: dict[str, Term] = {}

    def term(self, name: str) -> Term:
        """The term of a name."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def number(self, name: str) -> float:
        """The value of a name's term, which is a number."""
        return float(self.term(name).value or 0.0)

    def knows(self, name: str) -> bool:
        """Whether there is a term of that name; an equation that has another, of what nobody states, is no walk."""
        return name in self.values or name in self.equations or name in self.makers

    def _make(self, name: str) -> Term:
        value = self.values.get(name)
        if name in self.values and (value is None or value != value):  # absent, or no number: there is no answer
            return plain(name, value)
        if name in self.equations and all(self.knows(one) for one in equation(self.equations[name]).names):
            return equated(name, value, self.equations[name], self.term, self.units.get(name))
        if name not in self.makers:
            return plain(name, value)
        made = self.makers[name]()
        return made if value is None or is_same(value, made.value) else dataclasses.replace(made, value=value, gives=made.value)


def plain(name: str, value: Value) -> Term:
    """A column's value and what it means."""
    return Term(name, value, column(name).unit, note=column(name).description)
