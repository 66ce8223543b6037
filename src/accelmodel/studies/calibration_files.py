"""Writing a calibration as a TOML file that reads well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accelmodel.catalog.calibrations import Calibration, ServingEngine
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import schema_lines

_HEADER = ("name", "title", "date", "stacks", "base", "prior", "fitted_on", "default_engine", "measured")


def write(calibration: Calibration, folder: Path) -> Path:
    """Write a calibration into a folder, made where it is missing; the file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{calibration.name}.toml"
    part = path.with_name(path.name + ".part")
    part.write_text("".join(f"{line}\n" for line in schema_lines("calibrations", folder)) + text(calibration), encoding="utf-8")
    part.replace(path)
    return path


def text(calibration: Calibration) -> str:
    """A calibration in TOML."""
    return "\n".join(_lines(calibration)) + "\n"


def _lines(calibration: Calibration) -> Iterator[str]:
    yield "# Written by `accelmodel calibrate`. Ranges are the central 90 % of what prior and measurements allow together."
    for key in _HEADER:
        value = getattr(calibration, key)
        if value is not None:
            yield f"{key} = {_value(value)}"
    yield from _figures("parameters", dict(calibration.parameters))
    for key, engine in calibration.engines.items():
        yield from _engine(key, engine)
    for level, factors in calibration.generations.items():
        yield from _figures(f"generations.{_key(level)}", factors)
    yield "\n# Half-width of the central 90 % of measured over predicted, as a factor, on left-out groups"
    for name, spread in calibration.spreads.items():
        yield from _figures(f"spreads.{name}", dict(spread))
    for load, measures in calibration.load_spreads.items():
        yield from _figures(f"load_spreads.{_key(load)}", measures)
    if calibration.anchoring:
        yield "\n# Scatter of a replica's rows about their own mean ratio to the prediction, in the logarithm, and how many rows that is worth"
    for measure, scatter in calibration.anchoring.items():
        yield from _figures(f"anchoring.{measure}", dict(scatter))
    if calibration.errors:
        yield "\n# |predicted / measured - 1| on groups left out whole"
        yield "[errors]"
        yield from (f"{_key(name)} = {_inline(error.model_dump())}" for name, error in calibration.errors.items())
    for region in calibration.regions:
        yield "\n[[regions]]"
        yield from (f"{key} = {_value(getattr(region, key))}" for key in ("generation", "experts", "engine", "load"))
        yield from (f"errors.{_key(name)} = {_inline(error.model_dump())}" for name, error in region.errors.items())
    for correlation in calibration.correlations:
        yield f"\n[[correlations]]\nbetween = {_value(correlation.between)}\nvalue = {correlation.value}"


def _engine(key: str, engine: ServingEngine) -> Iterator[str]:
    yield f"\n[engines.{_key(key)}]"
    yield f"title = {_value(engine.title)}"
    if engine.aliases:
        yield f"aliases = {_value(engine.aliases)}"
    if engine.factors:
        yield from _figures(f"engines.{_key(key)}.factors", engine.factors)


def _figures(table: str, figures: Mapping[Any, Figure]) -> Iterator[str]:
    yield f"\n[{table}]"
    for name, figure in figures.items():
        yield f"{_key(name)} = {_inline(figure.model_dump(exclude_none=True, exclude_defaults=True))}"


def _inline(values: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in values.items()) + " }"


def _value(value: Any) -> str:
    """A string, number or list in TOML, whose basic strings are those of JSON."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _key(name: str) -> str:
    """A key, quoted where it must be."""
    return name if name.replace("-", "").replace("_", "").isalnum() else json.dumps(name)
