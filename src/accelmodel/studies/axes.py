"""Axes of a scenario: lists, ranges, zipped keys and named sets, and conditions by which combinations are left out."""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from accelmodel.catalog.figures import Strict
from accelmodel.errors import nearest_name


class Range(Strict):
    """Values from one end to the other, both included, evenly spaced or by a constant ratio."""

    first: float = Field(alias="from", description="first value, in the key's unit")
    last: float = Field(alias="to", description="last value, in the key's unit")
    steps: Annotated[int, Field(ge=2, le=10_000_000, description="number of values, both ends included")]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _log_of_positive(self) -> Range:
        if self.scale == "log" and min(self.first, self.last) <= 0:
            raise ValueError("a log range needs both ends above 0")
        return self

    @property
    def values(self) -> list[float]:
        """The values."""
        spaced = np.geomspace if self.scale == "log" else np.linspace
        return [float(value) for value in spaced(self.first, self.last, self.steps)]


class NamedSet(Strict):
    """Values by a name: a set of the scenario's own, `every` entry of the catalogue, or every system that fits (`fitting`: holds its cell's model)."""

    set: str = Field(description="name of the set")
    values: Annotated[tuple[Any, ...], Field(min_length=1)]


class Zipped(Strict):
    """Several keys that go together: the first values, the second values, and so on."""

    zip: Annotated[dict[str, tuple[Any, ...] | Range], Field(min_length=1, description="keys of a situation, each with a list or range of one length")]

    @model_validator(mode="after")
    def _of_one_length(self) -> Zipped:
        lengths = {key: len(values_of(axis)) for key, axis in self.zip.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"zipped keys need as many values each, not {', '.join(f'{count} of {key}' for key, count in lengths.items())}")
        return self


Single = tuple[Any, ...] | Range | NamedSet
Axis = Single | Zipped


def values_of(axis: Single) -> list[Any]:
    """The values of an axis of one key."""
    return list(axis) if isinstance(axis, tuple) else list(axis.values)


def keys_of(axes: Mapping[str, Axis]) -> dict[str, str]:
    """Key -> the axis that it goes along, in order; a zipped axis has a name of its own and several keys."""
    return {key: name for name, axis in axes.items() for key in (axis.zip if isinstance(axis, Zipped) else (name,))}


def steps_of(name: str, axis: Axis) -> list[dict[str, Any]]:
    """What an axis sets at each of its steps."""
    if not isinstance(axis, Zipped):
        return [{name: value} for value in values_of(axis)]
    columns = [values_of(column) for column in axis.zip.values()]
    return [dict(zip(axis.zip, values, strict=True)) for values in zip(*columns, strict=True)]


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_TEST = re.compile(r"(?P<left>[^<>=!]+?)\s*(?P<comparison><=|>=|==|!=|<|>)\s*(?P<right>[^<>=!]+)")
_NUMBER = re.compile(r"[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class _Side:
    """A sum of products of keys and numbers, or one text."""

    products: tuple[tuple[str | float, ...], ...] = ()
    text: str | None = None

    @property
    def keys(self) -> set[str]:
        return {factor for product in self.products for factor in product if isinstance(factor, str)}

    def value(self, situation: Mapping[str, Any]) -> Any:
        if self.text is not None:
            return self.text
        if len(self.products) == 1 and len(self.products[0]) == 1 and isinstance(key := self.products[0][0], str):
            return label(situation[key])
        factors = [[situation[factor] if isinstance(factor, str) else factor for factor in product] for product in self.products]
        return functools.reduce(operator.add, (functools.reduce(operator.mul, product) for product in factors))


@dataclass(frozen=True)
class Condition:
    """What leaves a combination out: comparisons joined by `and`, each between sums of products of keys and numbers, or of a key with a text.

    >>> Condition.read("tensor_parallel * pipeline_parallel > accelerators", ["tensor_parallel", "pipeline_parallel", "accelerators"]).keys
    {'accelerators', 'pipeline_parallel', 'tensor_parallel'}
    """

    words: str
    tests: tuple[tuple[_Side, str, _Side], ...]

    @classmethod
    def read(cls, words: str, known: Collection[str]) -> Condition:
        """A condition from its words; ValueError says what is wrong with them."""
        tests = []
        for part in re.split(r"\s+and\s+", words.strip()):
            found = _TEST.fullmatch(part.strip())
            if found is None:
                raise ValueError(f"'{part}' is no comparison: KEY < | <= | == | != | >= | > another key, a number or a text, joined by 'and'")
            left, right = (_side(found[name], known) for name in ("left", "right"))
            _check_test(part, left, found["comparison"], right, known)
            tests.append((left, found["comparison"], right))
        return cls(words, tuple(tests))

    @property
    def keys(self) -> set[str]:
        """The keys of a situation that it looks at."""
        return {key for left, _, right in self.tests for key in left.keys | right.keys}

    def holds(self, situation: Mapping[str, Any]) -> Any:
        """Whether it holds, of single values or of arrays that broadcast. KeyError for a key that the situation has not."""
        found = [_COMPARISONS[comparison](left.value(situation), right.value(situation)) for left, comparison, right in self.tests]
        return functools.reduce(operator.and_, found)


def _side(words: str, known: Collection[str]) -> _Side:
    products = tuple(tuple(_factor(factor.strip(), known) for factor in product.split("*")) for product in words.split("+"))
    if all(factor is not None for product in products for factor in product):
        return _Side(products)  # type: ignore[arg-type]
    return _Side(text=words.strip().strip("\"'"))


def _factor(words: str, known: Collection[str]) -> str | float | None:
    """A key, a number, or None for a text."""
    if words in known:
        return words
    if not _NUMBER.fullmatch(words):
        return None
    try:
        number = float(words)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _check_test(words: str, left: _Side, comparison: str, right: _Side, known: Collection[str]) -> None:
    texts = [side.text for side in (left, right) if side.text is not None]
    if not left.keys | right.keys or (texts and comparison not in ("==", "!=")):
        wrong = texts[0] if texts else words
        near = nearest_name(wrong, known)
        raise ValueError(f"'{words}' compares no key of a situation with that: '{wrong}' is none" + (f"; did you mean '{near}'?" if near else ""))


def label(value: Any) -> Any:
    """A value as a table shows it: a list of offers as one text.

    >>> label(("on-demand", "bedrock"))
    'on-demand + bedrock'
    """
    return " + ".join(value) if isinstance(value, (tuple, list)) else value


def reads(words: Iterable[str], known: Collection[str]) -> list[Condition]:
    """Several conditions."""
    return [Condition.read(one, known) for one in words]
