"""Arrow tables whose columns know their unit and description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from accelmodel.columns import Column, column

_TYPES = {"float": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string()}


def table(values: Mapping[str, Any], metadata: Mapping[str, str] | None = None, price_dates: Iterable[str] = ()) -> pa.Table:
    """An Arrow table of columns from `accelmodel.columns`; values are arrays, sequences or Arrow arrays of one length.

    NaN becomes null: what is unknown or cannot run has no number. A float array without NaN is taken without a copy. Columns of money carry their
    currency, and the dates of the prices behind them.
    """
    when = price_date(price_dates)
    arrays, fields = [], []
    for name, given in values.items():
        known = column(name)
        array = given if isinstance(given, pa.Array) else _array(given, _TYPES[known.type])
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata={"unit": known.unit, "description": known.description} | _money(known, when)))
    return pa.table(arrays, schema=pa.schema(fields, metadata=dict(metadata or {})))


def _money(known: Column, when: str) -> dict[str, str]:
    """Metadata of a column of money: its currency, and the dates of the prices where these are known."""
    if known.currency is None:
        return {}
    return {"currency": known.currency} | ({"price_date": when} if when else {})


def price_date(dates: Iterable[str]) -> str:
    """The dates of some prices as one: the date, or the interval from the oldest to the newest as ISO 8601 writes it.

    >>> price_date(["2026-07-20", "2025-04", "2026-07-20"])
    '2025-04/2026-07-20'
    """
    known = sorted(set(dates))
    return "/".join(dict.fromkeys((known[0], known[-1]))) if known else ""


def dated(of: pa.Table, price_dates: Iterable[str]) -> pa.Table:
    """The table with these dates of prices on its columns of money."""
    when = price_date(price_dates)
    fields = [field.with_metadata({**(field.metadata or {}), **_money(column(field.name), when)}) for field in of.schema]
    return pa.Table.from_arrays(of.columns, schema=pa.schema(fields, metadata=of.schema.metadata))


def _array(values: Any, type_: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray) and values.dtype == np.float64 and type_ == pa.float64():
        return pa.array(values, from_pandas=bool(np.isnan(np.sum(values))))
    if isinstance(values, Sequence) and type_ == pa.float64():
        values = [None if value is None or value != value else float(value) for value in values]
    return pa.array(values, type=type_)


def numbers(values: np.ndarray[Any, np.dtype[np.float64]], may_have_gaps: bool) -> pa.Array:
    """A float column, taken without a copy; NaN becomes null where there may be any."""
    return pa.array(values, from_pandas=may_have_gaps)


def labels(codes: np.ndarray[Any, np.dtype[np.float64]], names: Sequence[str]) -> pa.Array:
    """A string column, dictionary-encoded, from codes that index into `names`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(list(names)))


def every(length: int) -> pa.Array:
    """A boolean column that is true throughout, made of its bits: converting bytes to bits takes longer than computing a point does."""
    bits = pa.py_buffer(np.full(-(-length // 8), 255, np.uint8))
    return pa.BooleanArray.from_buffers(pa.bool_(), length, [None, bits])


def constant(value: str | float, length: int) -> pa.Array:
    """A column of one value: of numbers, or of a dictionary-encoded string."""
    if isinstance(value, str):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(length, np.int8)), pa.array([value]))
    return pa.array(np.full(length, float(value)))


def rows(of: pa.Table) -> list[dict[str, Any]]:
    """The table's rows as dicts, nulls as None."""
    found: list[dict[str, Any]] = of.to_pylist()
    return found
