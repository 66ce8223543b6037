"""A catalogue with some figures at other values: one value, or an array of them, one a draw, for whatever is computed by arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from accelmodel.catalog.calibrations import Calibration
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import Library
from accelmodel.economics import Values
from accelmodel.errors import InputError

Record = TypeVar("Record", bound=BaseModel)

# Kinds of entries whose figures may vary, and the field of the entry that holds them.
FIELD = {"ownership": "figures", "sites": "figures", "accelerators": "figures", "workloads": "figures", "shapes": "figures", "calibrations": "parameters"}
_PURCHASE = "purchase"


def parts_of(catalog: Library, key: str) -> tuple[str, str, str]:
    """Kind, entry and figure of a dotted key such as `sites.new-carlisle.tariff`; InputError with the nearest where there is none."""
    kind, _, rest = key.partition(".")
    if kind not in FIELD:
        raise InputError("names no kind of entry whose figures may vary", key=f"inputs.{key}", value=kind, allowed=FIELD)
    names = catalog.files(kind)
    name = max((name for name in names if rest.startswith(f"{name}.")), key=len, default=None)
    if name is None:
        raise InputError(f"no entry of '{kind}' is so called", key=f"inputs.{key}", value=rest.rsplit(".", 1)[0], allowed=names)
    return kind, name, rest[len(name) + 1 :]


def figure_at(catalog: Library, key: str) -> Figure:
    """The figure of a dotted key; InputError with the figures that the entry has where it has none so called."""
    kind, name, path = parts_of(catalog, key)
    entry = _entry_of(catalog, kind, name)
    if kind == "ownership" and path.startswith(f"{_PURCHASE}."):
        price: Figure = entry.purchase_price(path.removeprefix(f"{_PURCHASE}."))
        return price
    figures = {field: figure for field, figure in getattr(entry, FIELD[kind]) if isinstance(figure, Figure)}
    if path not in figures:
        raise InputError(f"'{name}' has no such figure", key=f"inputs.{key}", value=path, allowed=figures)
    return figures[path]


def _entry_of(catalog: Library, kind: str, name: str) -> Any:
    readers = {
        "ownership": catalog.ownership,
        "sites": catalog.site,
        "workloads": catalog.workload,
        "shapes": catalog.shape,
        "calibrations": catalog.calibration,
    }
    return catalog.accelerator(name) if kind == "accelerators" else readers[kind](name)


def revalued(figure: Figure, value: Values) -> Figure:
    """A figure at another value, which may be an array, in the figure's own unit; without a range."""
    kept = {name: getattr(figure, name) for name in ("unit", "kind", "source", "formula", "date", "note")}
    fields: dict[str, Any] = {**kept, "value": value, "low": None, "high": None, "alternatives": ()}
    return Figure.model_construct(**fields)


class Varied(Library):
    """Another catalogue's entries with figures at other values, given by dotted key in each figure's own unit."""

    def __init__(self, base: Library, values: Mapping[str, Values]) -> None:
        self.__dict__.update(base.__dict__)
        self.__dict__.pop("_calibration_by_stack", None)
        self._base = base
        self._read = {}
        self._changed: dict[tuple[str, str], dict[str, Figure]] = {}
        for key, value in values.items():
            kind, name, path = parts_of(base, key)
            self._changed.setdefault((kind, name), {})[path] = revalued(figure_at(base, key), value)

    def path(self, kind: str, name: str) -> Path:
        """The file of an entry, as the base has it."""
        return self._base.path(kind, name)

    def named(self, kind: str, name: str) -> str | None:
        """The name of an entry, as the base has it."""
        return self._base.named(kind, name)

    def _entry(self, kind: str, name: str, record: type[Record]) -> Record:
        return self._with_changes(kind, self._base._entry(kind, name, record))

    def calibration(self, name: str) -> Calibration:
        """A calibration with its parameters at other values."""
        return self._with_changes("calibrations", self._base.calibration(name))

    def _with_changes(self, kind: str, entry: Record) -> Record:
        name = getattr(entry, "name", "")
        changed = self._changed.get((kind, name))
        if changed is None:
            return entry
        if (kind, Path(name)) not in self._read:
            prices = {path.removeprefix(f"{_PURCHASE}."): figure for path, figure in changed.items() if path.startswith(f"{_PURCHASE}.")}
            figures = {path: figure for path, figure in changed.items() if not path.startswith(f"{_PURCHASE}.")}
            update: dict[str, Any] = {FIELD[kind]: getattr(entry, FIELD[kind]).model_copy(update=figures)}
            if prices:
                update[_PURCHASE] = {**entry.purchase, **prices}  # type: ignore[attr-defined]
            self._read[kind, Path(name)] = entry.model_copy(update=update)
        found: Record = self._read[kind, Path(name)]
        return found
