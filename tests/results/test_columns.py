"""Columns: one name, one meaning."""

from __future__ import annotations

from accelmodel.columns import _COLUMNS, COLUMNS


def test_no_two_columns_have_one_name():
    names = [column.name for column in _COLUMNS]
    assert len(names) == len(COLUMNS), {name for name in names if names.count(name) > 1}
