"""The catalogue: what is known of accelerators, systems, models, prices and sites, each figure with unit, source and kind.

`list`, `show`, `diff` and `check` are the verbs of `accelmodel catalog`; they are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelmodel.catalog.checks import check
    from accelmodel.catalog.compare import diff
    from accelmodel.catalog.entries import list_entries as list  # noqa: A004
    from accelmodel.catalog.entries import show

__all__ = ["check", "diff", "list", "show"]

_HOME = {"check": ("checks", "check"), "diff": ("compare", "diff"), "list": ("entries", "list_entries"), "show": ("entries", "show")}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'accelmodel.catalog' has no attribute '{name}'")
    module, function = _HOME[name]
    return getattr(importlib.import_module(f"accelmodel.catalog.{module}"), function)
