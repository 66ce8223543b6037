"""How many operations a point takes: the kernels run once as plain Python on numbers that count.

`python benchmarks/operations.py` prints a JSON document. Counted is what the kernels' source says for one full block of points, divided by its length: what
the compiler hoists out of a loop is still counted, an addition and a multiplication are two operations, and 2^y and log2 are the operations written there.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from types import SimpleNamespace
from typing import Any

os.environ["NUMBA_DISABLE_JIT"] = "1"

import numpy as np

import accelmodel as am
import registry
from accelmodel.core import kernels
from accelmodel.serving.steady_state import Grid
from accelmodel.studies import kernel, points
from accelmodel.studies.money import money

COUNTS: Counter[str] = Counter()


class Number(float):
    """A float that counts what is done to it."""


def _counting(operator: str, kind: str) -> Any:
    plain = getattr(float, operator)

    def method(self: Number, other: Any) -> Any:
        COUNTS[kind] += 1
        value = plain(self, float(other))
        return value if kind == "compare" else Number(value)

    return method


for _operators, _kind in (
    (("__add__", "__radd__", "__sub__", "__rsub__"), "add"),
    (("__mul__", "__rmul__"), "multiply"),
    (("__truediv__", "__rtruediv__"), "divide"),
    (("__lt__", "__le__", "__gt__", "__ge__", "__eq__"), "compare"),
):
    for _operator in _operators:
        setattr(Number, _operator, _counting(_operator, _kind))


def _sqrt(value: float) -> Number:
    COUNTS["root"] += 1
    return Number(math.sqrt(value))


def _exp2(values: Any, _bits: Any) -> None:
    for i, value in enumerate(values):
        COUNTS.update({"add": 14, "multiply": 13, "compare": 1})  # twelve terms by Horner's rule, the split of the exponent, the scale
        values[i] = Number(2.0 ** float(max(value, -1000.0)))


def _log2(values: Any, out: Any, _bits: Any) -> None:
    for i, value in enumerate(values):
        COUNTS.update({"add": 12, "multiply": 11, "divide": 1})  # nine terms by Horner's rule, z, w, and the exponent
        out[i] = Number(math.log2(value))


def _numbers(array: Any) -> Any:
    """An array whose floats count."""
    made = np.empty(np.shape(array), dtype=object)
    made[...] = np.vectorize(Number, otypes=[object])(np.asarray(array, dtype=np.float64))
    return made


def _records(records: Any) -> Any:
    """A structured array as an object array of dicts of counting numbers; integers stay."""
    made = np.empty(len(records), dtype=object)
    for index, row in enumerate(records):
        made[index] = {name: _field(row[name]) for name in records.dtype.names}
    return made


def _field(value: Any) -> Any:
    integer = np.issubdtype(np.asarray(value).dtype, np.integer)
    return value if integer else _numbers(value) if np.ndim(value) else Number(value)


def _counting_argument(value: Any) -> Any:
    """An argument of the compiled grid in counting form."""
    if isinstance(value, np.ndarray):
        return _records(value) if value.dtype.names else value
    if isinstance(value, Grid):
        return SimpleNamespace(values=tuple(_numbers(one) for one in value.values), shape=value.shape, strides=value.strides, size=value.size)
    if isinstance(value, kernel.Wanted):
        return SimpleNamespace(**vars(value) | {"scale": _numbers(value.scale), "offset": _numbers(value.offset)})
    return value


def _empty(shape: Any, dtype: Any = float) -> Any:
    return np.empty(shape, dtype) if dtype is not float else _numbers(np.ones(shape))


def count(case: registry.Case) -> dict[str, float]:
    """Operations a point by kind, of one full block in the middle of the case's grid."""
    replica = am.replica(**case.replica)
    load = registry.load(case.points)
    middle = {
        "input_tokens": load["input_tokens"][len(load["input_tokens"]) // 2],
        "output_tokens": load["output_tokens"][:, 50:51],
        "concurrency": np.linspace(1, 400, kernels.BLOCK),
    }
    kernels.exp2_in_place, kernels.log2 = _exp2, _log2
    kernels.math = SimpleNamespace(**vars(math) | {"sqrt": _sqrt})
    kernel.np = SimpleNamespace(**vars(np) | {"empty": _empty})
    run = kernel.run
    kernel.run = lambda *arguments: run(*(_counting_argument(argument) for argument in arguments))
    COUNTS.clear()
    points.evaluated(replica, points.load_of(replica, **middle), points.plan(replica, money(replica), case.columns))
    kernel.run = run
    return {kind: COUNTS[kind] / kernels.BLOCK for kind in ("add", "multiply", "compare", "divide", "root")}


if __name__ == "__main__":
    print(json.dumps({case.name: count(case) for case in registry.of("arrays")}, indent=2))
