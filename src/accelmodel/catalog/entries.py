"""Every entry of the catalogue by name whatever its kind, and its figures as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from accelmodel.catalog.calibrations import Calibration
from accelmodel.catalog.figures import Figure, Source, parse, read_toml
from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.library import FOLDERS, Library
from accelmodel.catalog.models import Model, Moe
from accelmodel.catalog.offers import HourOffer, Offers, Snapshot, TokenOffer
from accelmodel.catalog.ownership import Ownership
from accelmodel.catalog.readings import Readings
from accelmodel.catalog.references import Reference
from accelmodel.catalog.shapes import ShapeProfile
from accelmodel.catalog.sites import Site
from accelmodel.catalog.workloads import Workload
from accelmodel.errors import InputError

RECORDS: dict[str, type[BaseModel]] = {
    "accelerators": Accelerator,
    "systems": System,
    "offers": Snapshot,
    "ownership": Ownership,
    "calibrations": Calibration,
    "readings": Readings,
    "models": Model,
    "workloads": Workload,
    "shapes": ShapeProfile,
    "sites": Site,
    "reference": Reference,
}
KINDS = (*FOLDERS, "scenarios", "sources")


@dataclass(frozen=True)
class Entry:
    """One entry: its kind, its name, where it is written, the record itself."""

    kind: str
    name: str
    file: Path | None
    record: BaseModel

    @property
    def title(self) -> str:
        """What people call it."""
        return str(getattr(self.record, "title", "") or self.name)


@dataclass(frozen=True)
class FigureRow:
    """One figure of an entry under its dotted key."""

    key: str
    figure: Figure


def check_kind(kind: str) -> str:
    """A kind's name; InputError with the nearest one."""
    if kind not in KINDS:
        raise InputError(f"no kind of entry is called '{kind}'", key="kind", value=kind, allowed=KINDS)
    return kind


def figures(record: Any, key: str = "") -> Iterator[FigureRow]:
    """Every figure inside a record, in the file's order, under keys such as `peak_bf16` or `purchase.NAME`."""
    if isinstance(record, Figure):
        yield FigureRow(key, record)
    elif isinstance(record, BaseModel):
        yield from figures({name: value for name, value in record if value is not None}, key)
    elif isinstance(record, Mapping):
        for name, value in record.items():
            # The table `figures` is where an entry's own figures live: naming it would say nothing.
            yield from figures(value, key if name == "figures" and not key else f"{key}.{name}".lstrip("."))
    elif isinstance(record, (list, tuple)):
        for number, value in enumerate(record, 1):
            yield from figures(value, f"{key}.{getattr(value, 'name', number)}")


def source_keys(data: Any) -> Iterator[str]:
    """Every source key that a record or a TOML table uses: the strings under `source`, `config_source` and `terms_source`."""
    if isinstance(data, BaseModel):
        data = dict(data)
    if isinstance(data, Mapping):
        for name, value in data.items():
            if name in ("source", "config_source", "terms_source") and isinstance(value, str):
                yield value
            else:
                yield from source_keys(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from source_keys(value)


def catalogue_date(library: Library) -> str:
    """The day on which the newest source was opened."""
    return max((source.accessed for source in library.sources.values()), default="")


# Listing


def list_entries(kind: str | None = None, library: Library | None = None) -> list[dict[str, Any]]:
    """One row an entry with its kind, name, title and key figures (SI units in the keys); all kinds, or one."""
    books = library or Library()
    wanted = [check_kind(kind)] if kind else [name for name in KINDS if name != "sources"]
    return [row for name in wanted for row in (_LISTED[name](books) if name in _LISTED else _titles(books, name))]


def _si(figure: Figure | None) -> float | None:
    return None if figure is None else figure.si


def _accelerators(library: Library) -> Iterator[dict[str, Any]]:
    for name in library.files("accelerators"):
        entry = library.accelerator(name)
        own = entry.figures
        yield {
            "kind": "accelerators",
            "name": name,
            "title": entry.title,
            "peak_bf16_flop_per_s": _si(own.peak_bf16),
            "peak_fp8_flop_per_s": _si(own.peak_fp8),
            "peak_fp4_flop_per_s": _si(own.peak_fp4),
            "memory_bytes": _si(own.hbm_usable or own.hbm_capacity),
            "hbm_bandwidth_byte_per_s": _si(own.hbm_bandwidth),
            "tdp_w": _si(own.tdp),
        }


def _systems(library: Library) -> Iterator[dict[str, Any]]:
    for name in library.files("systems"):
        entry = library.system(name)
        levels = ", ".join(f"{level.topology} of {level.accelerators}" for level in entry.scale_up)
        yield {
            "kind": "systems",
            "name": name,
            "title": entry.title,
            "accelerators": entry.accelerators,
            "accelerator": entry.accelerator,
            "scale_up": levels,
        }


def _models(library: Library) -> Iterator[dict[str, Any]]:
    for name in library.files("models"):
        entry = library.model(name)
        yield {
            "kind": "models",
            "name": name,
            "title": entry.title,
            "parameters": entry.architecture.parameters,
            "active_parameters": entry.architecture.active_parameters,
            "max_context_tokens": entry.architecture.max_context_tokens,
            "basis": "estimate" if entry.is_estimate else "published",
        }


def _offers(library: Library) -> Iterator[dict[str, Any]]:
    offers = Offers(library)
    for hour in sorted(offers.hours(), key=lambda offer: offer.id):
        yield {"kind": "offers", "name": hour.id, "price_usd_per_h": hour.price, "date": hour.date, "price_kind": hour.kind}
    for token in sorted(offers.tokens(), key=lambda offer: offer.id):
        prices = {f"{side}_usd_per_mtok": getattr(token, side) for side in ("input", "cache_read", "output")}
        yield {"kind": "offers", "name": token.id, "model": token.model, **prices, "date": token.date, "price_kind": token.kind}


def _sites(library: Library) -> Iterator[dict[str, Any]]:
    for name in library.files("sites"):
        entry = library.site(name)
        own = entry.figures
        tariff = own.tariff.si * 3.6e6
        yield {"kind": "sites", "name": name, "title": entry.title, "tariff_usd_per_kwh": tariff, "pue": own.pue.si, "power_w": _si(own.power)}


def _workloads(library: Library) -> Iterator[dict[str, Any]]:
    for name in library.files("workloads"):
        entry = library.workload(name)
        own = entry.figures
        tokens = {"input_tokens": own.input_tokens.si, "output_tokens": own.output_tokens.si}
        yield {"kind": "workloads", "name": name, "title": entry.title, **tokens, "prefix_hit_fraction": _si(own.prefix_hit_fraction)}


def _shapes(library: Library) -> Iterator[dict[str, Any]]:
    for name in library.files("shapes"):
        entry = library.shape(name)
        numbers = {"hours": len(entry.hours.values), "peak_to_mean": entry.figures.peak_to_mean.si, "starts": entry.starts}
        yield {"kind": "shapes", "name": name, "title": entry.title, **numbers}


def _sources(library: Library) -> Iterator[dict[str, Any]]:
    for key, source in sorted(library.sources.items()):
        row = {"kind": "sources", "name": key, "title": source.title, "publisher": source.publisher}
        yield row | {"date": source.date, "confidence": source.confidence}


def _titles(library: Library, kind: str) -> Iterator[dict[str, Any]]:
    for name, path in library.files(kind).items():
        yield {"kind": kind, "name": name, "title": str(read_toml(path).get("title", ""))}


_LISTED: dict[str, Callable[[Library], Iterator[dict[str, Any]]]] = {
    "accelerators": _accelerators,
    "systems": _systems,
    "models": _models,
    "offers": _offers,
    "sites": _sites,
    "workloads": _workloads,
    "shapes": _shapes,
    "sources": _sources,
}


# Finding


def read(kind: str, name: str, library: Library) -> Entry:
    """The entry of a kind and name (or alias, path, offer id); InputError with the nearest name."""
    if kind == "offers":
        return _offer(name, library)
    if kind == "sources":
        if name not in library.sources:
            raise InputError(f"no source is called '{name}'", key="source", value=name, allowed=library.sources)
        return Entry(kind, name, None, library.sources[name])
    path = library.path(kind, name)
    own = {
        "accelerators": library.accelerator,
        "systems": library.system,
        "models": library.model,
        "ownership": library.ownership,
        "sites": library.site,
        "workloads": library.workload,
        "shapes": library.shape,
        "reference": library.reference,
        "calibrations": library.calibration,
    }
    record = own[kind](name) if kind in own else Scenario.model_validate(read_toml(path))
    return Entry(kind, str(getattr(record, "name", "") or path.stem), path, record)


class Scenario(BaseModel):
    """A scenario as far as the catalogue knows it: what it is about."""

    title: str = ""
    description: str = ""


def _offer(name: str, library: Library) -> Entry:
    """An offer by its id with or without date, or a whole snapshot by its file's name or path."""
    files = library.files("offers")
    if name in files or name.endswith(".toml"):
        path = library.path("offers", name)
        return Entry("offers", path.stem, path, parse(Snapshot, read_toml(path), path))
    bare, _, date = name.partition("@")
    offers = Offers(library)
    every: list[HourOffer | TokenOffer] = [*offers.hours(), *offers.tokens()]
    found = next((offer for offer in every if bare in (offer.id, getattr(offer, "model_id", ""))), None)
    if found is None or date:
        found = offers.find(name)
    return Entry("offers", found.id, files.get(found.snapshot), found)


def show(name: str, library: Library | None = None, kind: str | None = None) -> Entry:
    """The entry of a name, whatever its kind; a path names a file of its own.

    Raises InputError where several kinds have the name (it lists them) and where none has it (it gives the nearest of all names).
    """
    books = library or Library()
    if kind is not None:
        return read(check_kind(kind), name, books)
    found = kinds_with(name, books)
    if len(found) > 1:
        raise InputError(f"'{name}' is the name of several entries: say which kind (on the command line: --kind)", key="kind", allowed=found)
    if not found:
        raise InputError(f"no entry is called '{name}'", key="name", value=name, allowed=_all_names(books))
    return read(found[0], name, books)


def kinds_with(name: str, library: Library) -> list[str]:
    """The kinds that have an entry of this name: by exact name, or else by alias or offer id."""
    path = Path(name)
    if path.suffix in (".json", ".toml"):
        return [kind_of(path, read_toml(path) if path.suffix == ".toml" else {})]
    exact = [kind for kind in (*FOLDERS, "scenarios") if name in library.files(kind)]
    exact += ["sources"] if name in library.sources else []
    return exact or [kind for kind in KINDS if _has(kind, name, library)]


def _has(kind: str, name: str, library: Library) -> bool:
    try:
        if kind == "offers":
            _offer(name, library)
        elif kind != "sources":
            library.path(kind, name)
        else:
            return name in library.sources
    except InputError:
        return False
    return True


def _all_names(library: Library) -> list[str]:
    offers = Offers(library)
    ids = [offer.id for offer in (*offers.hours(), *offers.tokens())]
    return [*(name for kind in (*FOLDERS, "scenarios") for name in library.files(kind)), *library.sources, *ids]


def kind_of(path: Path, data: Mapping[str, Any]) -> str:
    """The kind of a file: of its folder's name, or else of the keys that only this kind has."""
    if path.suffix == ".json":
        return "models"
    if path.name.startswith("sources"):
        return "sources"
    if path.parent.name in RECORDS:
        return path.parent.name
    for kind, keys in _TELLING.items():
        if all(key in data for key in keys):
            return kind
    allowed = [f"{kind}: {', '.join(keys)}" for kind, keys in _TELLING.items()]
    raise InputError("cannot tell what kind of entry this is; put it into a folder of its kind's name, or give the keys that tell", file=path, allowed=allowed)


_TELLING: dict[str, Sequence[str]] = {
    "accelerators": ("vendor", "stack"),
    "systems": ("provider", "scale_up"),
    "offers": ("currency", "unit"),
    "ownership": ("purchase",),
    "calibrations": ("stacks",),
    "models": ("architecture",),
    "sites": ("country",),
    "readings": ("dtypes",),
    "shapes": ("hours", "starts"),
    "scenarios": ("studies",),
    "workloads": ("figures", "name"),
}


# Documents


def document(entry: Entry, library: Library) -> dict[str, Any]:
    """An entry as plain data: its fields, every figure with its SI value, and every source that it names."""
    rows = list(figures(entry.record))
    plain = entry.record.model_dump(mode="json", exclude_none=True)
    return {
        "kind": entry.kind,
        "name": entry.name,
        "title": entry.title,
        "file": None if entry.file is None else str(entry.file),
        "entry": plain,
        "figures": {row.key: {**row.figure.model_dump(mode="json", exclude_none=True), "si": row.figure.si} for row in rows},
        "sources": {key: source.model_dump(exclude_none=True) for key, source in sources_of(entry, library).items()},
    }


def sources_of(entry: Entry, library: Library) -> dict[str, Source]:
    """The sources that an entry names, in its order, each once."""
    if isinstance(entry.record, Source):
        return {}
    return named_sources(source_keys(entry.record), library)


def named_sources(keys: Iterable[str], library: Library) -> dict[str, Source]:
    """Sources by key, each once; a key that no file defines is left to `check`."""
    return {key: library.sources[key] for key in dict.fromkeys(keys) if key in library.sources}


def routed_experts(model: Model) -> tuple[int, int] | None:
    """Routed experts of a model's widest mixture and how many a token uses; None for a dense model."""
    found = [(group.ffn.experts, group.ffn.experts_per_token) for group in model.architecture.groups if isinstance(group.ffn, Moe)]
    return max(found, default=None)
