"""`catalog check`: every file parses, every name and source exists, and what is printed twice agrees with itself."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from accelmodel.catalog.calibrations import Calibration
from accelmodel.catalog.config_json import model_from_config
from accelmodel.catalog.entries import RECORDS, kind_of
from accelmodel.catalog.figures import Figure, Source, parse, read_toml
from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.library import FOLDERS, Library
from accelmodel.catalog.models import Model
from accelmodel.catalog.offers import HourOffer, Offers, Snapshot
from accelmodel.catalog.ownership import Ownership
from accelmodel.catalog.shapes import ShapeProfile
from accelmodel.catalog.sites import Site
from accelmodel.errors import InputError, nearest_name

# Printed totals are rounded to three digits or so.
_TOTAL_TOLERANCE = 0.01
# A parameter count may leave out vectors (norms, biases) and is rounded on a model card.
_COUNT_TOLERANCE = 0.01
# The share of a host differs between a small and a large instance of one chip; a factor beyond this is a slip of unit or count.
_PRICE_FACTOR = 4.0

_TOTALS = ("hbm_capacity", "hbm_bandwidth", "peak_bf16", "peak_fp8", "peak_fp4")
_SOURCE_KEYS = ("source", "config_source", "terms_source")
# What the engine cannot do without, and what the cost of ownership needs.
_NEEDED = ("peak_bf16", "hbm_bandwidth", "tdp", "it_power")


@dataclass(frozen=True)
class Finding:
    """Something wrong in the catalogue (`error`), or something missing or unused that may be meant so (`warning`)."""

    severity: Literal["error", "warning"]
    file: str
    key: str
    message: str


def check(library: Library | None = None, paths: Iterable[str | Path] = ()) -> list[Finding]:
    """Findings over the whole library, or over the given files and folders against it; none means clean. Errors come first."""
    given = [Path(path) for path in paths]
    files = files_to_check(library, given)
    books = library or Library(*(path for path in given if path.is_dir()))
    found: list[Finding] = []
    if not (fault := _fault(lambda: books.sources)):
        found += [finding for path in files for finding in _check_file(path, books)]
    else:
        found.append(fault)
    if not given and not fault:
        found += _check_whole(books)
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.severity, finding.file, finding.key))


def files_to_check(library: Library | None, paths: Iterable[str | Path]) -> list[Path]:
    """The files that `check` reads: the given ones and those of given folders, or else every entry and scenario of the library."""
    given = [Path(path) for path in paths]
    if given:
        return list(_files_in(given))
    books = library or Library()
    return [path for kind in (*FOLDERS, "scenarios") for path in books.files(kind).values()]


def is_scenario(path: Path) -> bool:
    """Whether a file is a scenario, whose schema belongs to a room above: whoever runs it checks it."""
    if path.suffix != ".toml" or _fault(read_toml, path):
        return False
    data = read_toml(path)
    return _fault(kind_of, path, data) is None and kind_of(path, data) == "scenarios"


def _files_in(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.toml"))
        elif path.is_file():
            yield path
        else:
            raise InputError("no such file or folder", file=path)


def _error(path: object, key: str, message: str) -> Finding:
    return Finding("error", str(path), key, message)


def _warning(path: object, key: str, message: str) -> Finding:
    return Finding("warning", str(path), key, message)


def _fault(attempt: Callable[..., object], *arguments: object) -> Finding | None:
    """The InputError of a call as a finding."""
    try:
        attempt(*arguments)
    except InputError as error:
        told = InputError(error.message, value=error.value, allowed=error.allowed, nearest=error.nearest)
        return _error(error.file or "", error.key or "", str(told))
    except RecursionError:
        return _error("", "base", "a profile is derived from itself")
    return None


# One file


def _check_file(path: Path, library: Library) -> Iterator[Finding]:
    """A file by itself and against the library."""
    if path.suffix == ".json":
        if fault := _fault(model_from_config, path):
            yield fault
        return
    try:
        data = read_toml(path)
        kind = kind_of(path, data)
    except InputError as error:
        yield _error(path, error.key or "", error.message)
        return
    if kind == "scenarios":
        return
    if kind == "sources":
        yield from _check_sources(path, data)
        return
    own = data.get("sources", {}) if kind == "offers" else {}
    yield from _unknown_sources(path, data, {*library.sources, *own})
    if fault := _fault(_record, kind, path, library):
        yield _error(fault.file or path, fault.key, fault.message)
        return
    record = _record(kind, path, library)
    name = getattr(record, "name", path.stem)
    if name != path.stem:
        yield _error(path, "name", f"'{name}' lies in a file of another name, '{path.name}'")
    checker = _CHECKERS.get(kind)
    if checker is not None:
        yield from checker(path, record, library)


def _record(kind: str, path: Path, library: Library) -> BaseModel:
    if kind == "accelerators":
        return library.accelerator(str(path))
    if kind == "calibrations":
        return library.calibration(str(path))
    return parse(RECORDS[kind], read_toml(path), path)


def _check_sources(path: Path, data: Mapping[str, Any]) -> Iterator[Finding]:
    for key, value in data.items():
        if fault := _fault(parse, Source, value, path):
            yield _error(path, f"{key}.{fault.key}", fault.message)


def _unknown_sources(path: Path, data: Any, known: Collection[str], key: str = "") -> Iterator[Finding]:
    """Source keys that are not known, wherever in the file they stand."""
    if isinstance(data, dict):
        for name, value in data.items():
            here = f"{key}.{name}".lstrip(".")
            if name in _SOURCE_KEYS and isinstance(value, str):
                if value not in known:
                    near = nearest_name(value, known)
                    yield _error(path, here, f"no source is called '{value}'" + (f"; did you mean '{near}'?" if near else ""))
            else:
                yield from _unknown_sources(path, value, known, here)
    elif isinstance(data, list):
        for number, value in enumerate(data, 1):
            yield from _unknown_sources(path, value, known, f"{key}.{number}")


def _missing(path: Path, key: str, name: str | None, kind: str, library: Library) -> Iterator[Finding]:
    """An error where an entry names one that does not exist."""
    if name is not None and name not in library.files(kind):
        near = nearest_name(name, library.files(kind))
        yield _error(path, key, f"no {kind.removesuffix('s')} is called '{name}'" + (f"; did you mean '{near}'?" if near else ""))


def _check_accelerator(path: Path, record: Accelerator, library: Library) -> Iterator[Finding]:
    own = record.figures
    missing = [name for name in _NEEDED if getattr(own, name) is None]
    if own.hbm_usable is None and own.hbm_capacity is None:
        missing.append("hbm_capacity")
    several = any(system.accelerators > 1 for system in _systems_of(record.name, library))
    if own.scale_up_bandwidth is None and several:
        missing.append("scale_up_bandwidth")
    for name in missing:
        yield _warning(path, f"figures.{name}", "is absent: what needs it is refused")
    if own.hbm_usable is not None and own.hbm_capacity is not None and own.hbm_usable.si > own.hbm_capacity.si * 1.08:
        yield _error(path, "figures.hbm_usable", "is more than the printed capacity even if that is read as GiB")
    for dtype in ("bf16", "fp8", "fp4"):
        dense, sparse = getattr(own, f"peak_{dtype}"), getattr(own, f"sparse_{dtype}")
        if dense is not None and sparse is not None and sparse.si < dense.si:
            yield _error(path, f"figures.sparse_{dtype}", "is below the dense rate")
    if not _has_calibration(record, library):
        yield _warning(path, "stack", f"no calibration covers '{record.stack}': nothing can be evaluated on it")
    if record.derivation is not None:
        yield from _check_derivation(path, record, library)


def _check_derivation(path: Path, record: Accelerator, library: Library) -> Iterator[Finding]:
    """Every scaled figure is its base's times the stated factor; one that the base lacks, or that the file overrides, is told."""
    assert record.derivation is not None
    derivation = record.derivation
    base = library.accelerator(derivation.base)
    for name, factor in derivation.scaled.items():
        origin, scaled = getattr(base.figures, name), getattr(record.figures, name)
        if origin is None:
            yield _warning(path, f"derivation.scaled.{name}", f"'{derivation.base}' has no such figure to scale")
        elif not math.isclose(scaled.si / origin.si, derivation.factors[factor].si, rel_tol=1e-12):
            stated = derivation.factors[factor].si
            yield _error(path, f"figures.{name}", f"is {scaled.si / origin.si:.4g} times '{derivation.base}', but '{factor}' is {stated:g}")
    for name, source in derivation.taken.items():
        if getattr(library.accelerator(source).figures, name, None) is None:
            yield _warning(path, f"derivation.taken.{name}", f"'{source}' has no such figure to take")


def _has_calibration(record: Accelerator, library: Library) -> bool:
    """Whether a calibration covers the software stack; one that cannot be read is told of by itself and may well cover it."""
    return any(_fault(library.calibration, name) is not None or record.stack in library.calibration(name).stacks for name in library.files("calibrations"))


def _systems_of(accelerator: str, library: Library) -> Iterator[System]:
    for name in library.files("systems"):
        if _fault(library.system, name) is None and library.system(name).accelerator == accelerator:
            yield library.system(name)


def _check_system(path: Path, record: System, library: Library) -> Iterator[Finding]:
    unknown = list(_missing(path, "accelerator", record.accelerator, "accelerators", library))
    yield from unknown
    yield from _missing(path, "sold_within", record.sold_within, "systems", library)
    if unknown or _fault(library.accelerator, record.accelerator):
        return
    accelerator = library.accelerator(record.accelerator)
    pairs = [(f"total_{name}", getattr(accelerator.figures, name)) for name in _TOTALS] + [("it_power", accelerator.figures.it_power)]
    for name, single in pairs:
        total: Figure | None = getattr(record.figures, name)
        if total is not None and single is not None and not _agree(total, single, record.accelerators):
            product = f"{record.accelerators} x {single.value:g} {single.unit} of '{record.accelerator}'"
            yield _error(path, f"figures.{name}", f"{total.value:g} {total.unit} is not {product} within {_TOTAL_TOLERANCE:.0%}")


def _agree(total: Figure, single: Figure, count: int) -> bool:
    """Whether the ranges of a total and of count x a single figure meet, within the rounding of printed totals."""
    above = total.si_low <= count * single.si_high * (1 + _TOTAL_TOLERANCE)
    return above and total.si_high >= count * single.si_low * (1 - _TOTAL_TOLERANCE)


def _check_snapshot(path: Path, record: Snapshot, library: Library) -> Iterator[Finding]:
    for number, hour in enumerate(record.hour, 1):
        yield from _missing(path, f"hour.{number}.system", hour.system, "systems", library)
        yield from _missing(path, f"hour.{number}.accelerator", hour.accelerator, "accelerators", library)
    for number, token in enumerate(record.token, 1):
        yield from _missing(path, f"token.{number}.model", token.model, "models", library)
        if token.cache_read is not None and token.cache_read > token.input:
            yield _warning(path, f"token.{number}.cache_read", f"'{token.id}' sells a cached token for more than an uncached one")


def _check_ownership(path: Path, record: Ownership, library: Library) -> Iterator[Finding]:
    for name in record.purchase:
        yield from _missing(path, f"purchase.{name}", name, "accelerators", library)


def _check_model(path: Path, record: Model, _library: Library) -> Iterator[Finding]:
    counted = record.architecture.parameters + (record.other_parameters.si if record.other_parameters else 0.0)
    published = record.parameters
    if published is not None:
        low, high = published.si * (1 - _COUNT_TOLERANCE), published.si * (1 + _COUNT_TOLERANCE)
        if not record.is_estimate:  # a published count's range is what it was rounded from; an estimate's says nothing of its own matrices
            low, high = min(low, published.si_low), max(high, published.si_high)
        if not low <= counted <= high:
            yield _error(path, "parameters", f"{published.si:.4g} are stated, but the architecture has {counted:.4g}: more than {_COUNT_TOLERANCE:.0%} apart")
    elif not record.is_estimate:
        yield _warning(path, "parameters", "no published count to hold the architecture against")
    if record.active_parameters is not None and record.active_parameters.si > counted * (1 + _COUNT_TOLERANCE):
        yield _error(path, "active_parameters", "are more than there are parameters")
    if record.config_source is None and not record.is_estimate:
        yield _error(path, "config_source", "is missing: where do the architecture's numbers come from?")


def _check_calibration(path: Path, record: Calibration, library: Library) -> Iterator[Finding]:
    known = {str(read_toml(file).get("generation")) for file in library.files("accelerators").values()}
    for name in (*record.generations, *record.measured):
        if name not in known:
            near = nearest_name(name, known)
            yield _error(path, f"generations.{name}", "no accelerator is of this generation" + (f"; did you mean '{near}'?" if near else ""))


def _check_site(path: Path, record: Site, _library: Library) -> Iterator[Finding]:
    power = record.figures.power
    for phase in record.phases:
        if power is not None and phase.it_power.si > power.si:
            yield _error(path, f"phases.{phase.name}", "its IT power is more than the whole site's power")


def _check_shape(path: Path, record: ShapeProfile, _library: Library) -> Iterator[Finding]:
    stated, found = record.figures.peak_to_mean, record.hours.peak_to_mean_ratio
    if not math.isclose(stated.si, found, rel_tol=_TOTAL_TOLERANCE):
        yield _error(path, "figures.peak_to_mean", f"{stated.value:g} is stated, but the hours have {found:.4g}: more than {_TOTAL_TOLERANCE:.0%} apart")


_CHECKERS: dict[str, Callable[[Path, Any, Library], Iterator[Finding]]] = {
    "accelerators": _check_accelerator,
    "systems": _check_system,
    "offers": _check_snapshot,
    "ownership": _check_ownership,
    "models": _check_model,
    "calibrations": _check_calibration,
    "sites": _check_site,
    "shapes": _check_shape,
}


# The whole library


def _check_whole(library: Library) -> Iterator[Finding]:
    for kind in FOLDERS:
        yield from _alias_clashes(kind, library)
    yield from _sources_once(library)
    for root in library.roots:
        for path in library.measurement_files(root):
            yield from _check_measurements(path, library)
    yield from _unsold(library)
    if fault := _fault(Offers(library).hours) or _fault(Offers(library).tokens):
        yield fault
    else:
        yield from _prices_apart(library)


_NAMED = {"model": "models", "accelerator": "accelerators"}
_TEXTS = ("source", "source_path_or_url", "source_commit_or_date")
_UNITS = re.compile(r"_(ms|tok_s)(_mean|_p\d\d)?$")  # of a metric of a frontier, which its name holds


def _check_measurements(path: Path, library: Library) -> Iterator[Finding]:
    """Published measurements: each has its source, a metric whose name says its unit, a value, and names that the catalogue knows."""
    import pandas as pd

    try:
        rows = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        yield _error(path, "", f"cannot be read: {' '.join(str(error).split())}")
        return
    for name in (*_NAMED, *_TEXTS, "metric", "value"):
        if name not in rows:
            yield _error(path, name, "no such column")
        elif blank := int(rows[name].isna().sum()):
            yield _error(path, name, f"{blank:,} rows do not say it")
    for column, kind in _NAMED.items():
        if _fault(library.named, kind, ""):
            continue  # an entry that cannot be read is told of elsewhere
        for name in rows.get(column, pd.Series()).dropna().unique():
            if library.named(kind, str(name)) is None:
                yield _error(path, column, f"no entry of the catalogue is called '{name}'")
    for name in rows.get("metric", pd.Series()).dropna().unique():
        if not _UNITS.search(str(name)):
            yield _error(path, "metric", f"'{name}' does not end in a unit of a latency (ms) or a throughput (tok_s)")
    values = pd.to_numeric(rows.get("value", pd.Series(dtype=float)), errors="coerce").dropna()
    if wrong := int((~values.between(0.0, math.inf, inclusive="neither")).sum()):
        yield _error(path, "value", f"{wrong:,} values are no positive numbers")


def _alias_clashes(kind: str, library: Library) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, path in library.files(kind).items():
        if _fault(read_toml, path):
            continue
        aliases = read_toml(path).get("aliases", ())
        for alias in (name, *(aliases if isinstance(aliases, list) else ())):
            folded = str(alias).strip().casefold().replace(" ", "-").replace("_", "-")
            if seen.setdefault(folded, name) != name:
                yield _error(path, "aliases", f"'{alias}' also means '{seen[folded]}'")


def _source_files(library: Library) -> Iterator[Path]:
    for root in library.roots:
        yield from (*sorted((root / "hardware_profiles").glob("sources*.toml")), *sorted(root.glob("sources*.toml")))


def _sources_once(library: Library) -> Iterator[Finding]:
    """Each source stands once and is used."""
    used = {key for path in library.all_files() if not path.name.startswith("sources") for key in _used_sources(path)}
    seen: dict[str, Path] = {}
    for path in _source_files(library):
        for key in read_toml(path):
            if seen.setdefault(key, path) != path:
                yield _error(path, key, f"this source also stands in '{seen[key].name}'")
            elif key not in used:
                yield _warning(path, key, "no figure names this source")


def _used_sources(path: Path) -> Iterator[str]:
    """Strings under source keys; an unreadable file, which is told of elsewhere, uses none."""
    from accelmodel.catalog.entries import source_keys

    if _fault(read_toml, path) is None:
        yield from source_keys(read_toml(path))


def _unsold(library: Library) -> Iterator[Finding]:
    systems = [library.system(name) for name in library.files("systems") if not _fault(library.system, name)]
    used = {system.accelerator for system in systems}
    for name, path in library.files("accelerators").items():
        if name not in used:
            yield _warning(path, "name", "no system has this accelerator: nothing can be evaluated on it")


def _prices_apart(library: Library) -> Iterator[Finding]:
    """Prices per accelerator of one accelerator, term and region that are too far apart for one of them to be right."""
    groups: dict[tuple[str, str, str], list[tuple[float, HourOffer]]] = defaultdict(list)
    for offer in Offers(library).hours():
        if offer.price is None or (offer.system and offer.system not in library.files("systems")):
            continue
        system = library.system(offer.system) if offer.system else None
        accelerator = system.accelerator if system else offer.accelerator or ""
        groups[accelerator, offer.term, offer.region].append((offer.price_usd_per_accelerator_h(system.accelerators if system else 1), offer))
    for (accelerator, term, region), prices in groups.items():
        (least, cheap), (most, dear) = min(prices, key=lambda pair: pair[0]), max(prices, key=lambda pair: pair[0])
        if most > _PRICE_FACTOR * least:
            yield _warning(
                library.files("offers")[dear.snapshot],
                dear.id,
                f"{accelerator}, {term}, {region}: {most:.3g} USD per accelerator-hour against {least:.3g} of '{cheap.id}'",
            )
