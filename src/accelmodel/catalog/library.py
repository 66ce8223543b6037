"""Find, read and check catalogue entries: a user's own folders first, then the entries shipped with the package."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from accelmodel.catalog.calibrations import Calibration
from accelmodel.catalog.figures import Figure, Source, parse, read_toml
from accelmodel.catalog.hardware import Accelerator, AcceleratorFigures, System
from accelmodel.catalog.models import Model
from accelmodel.catalog.ownership import Ownership
from accelmodel.catalog.readings import Readings
from accelmodel.catalog.references import Reference
from accelmodel.catalog.shapes import ShapeProfile
from accelmodel.catalog.sites import Site
from accelmodel.catalog.workloads import Workload
from accelmodel.errors import InputError

Record = TypeVar("Record", bound=BaseModel)

# Where a kind's files lie: the supply side or the demand side.
FOLDERS = {
    "accelerators": "hardware_profiles",
    "systems": "hardware_profiles",
    "offers": "hardware_profiles",
    "ownership": "hardware_profiles",
    "calibrations": "hardware_profiles",
    "readings": "hardware_profiles",
    "models": "scenarios",
    "workloads": "scenarios",
    "shapes": "scenarios",
    "sites": "scenarios",
    "reference": "scenarios",
}


def shipped_root() -> Path:
    """The folder with the shipped `hardware_profiles` and `scenarios`: inside an installed package, or the repository of a development install."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_data"
    return inside if inside.is_dir() else package.parents[1]


def schema_file(kind: str) -> str:
    """The name of the JSON Schema of a kind's files in `schemas/`, beside `hardware_profiles/` and `scenarios/`.

    >>> schema_file("scenarios"), schema_file("ownership")
    ('scenario.json', 'ownership.json')
    """
    return f"{_singular(kind)}.json"


def schema_lines(kind: str, folder: Path) -> tuple[str, ...]:
    """The first line by which a file of a kind in a folder names its schema to editors: none where the folder is not of a catalogue with schemas."""
    for up in ("..", "../.."):
        if (folder / up / "schemas" / schema_file(kind)).is_file():
            return (f"#:schema {up}/schemas/{schema_file(kind)}",)
    return ()


class Library:
    """The catalogue: entries by kind and name, searched in the given folders and then among the shipped ones.

    A folder holds `hardware_profiles/` and `scenarios/`, or the kinds' folders directly. Entries are read once and frozen. `used` collects the files
    of the entries asked for, until a caller clears it.
    """

    def __init__(self, *folders: Path | str) -> None:
        own = [Path(folder) for folder in folders]
        if environment := os.environ.get("ACCELMODEL_CATALOG"):
            own.append(Path(environment))
        for folder in own:
            if not folder.is_dir():
                raise InputError("is not a folder", file=folder, key="--catalog")
        self.roots = (*own, shipped_root())
        self._read: dict[tuple[str, Path], Any] = {}
        self.used: set[Path] = set()

    def files(self, kind: str) -> dict[str, Path]:
        """Name -> file of every entry of a kind; the first root that has a name wins."""
        return self._files[kind]

    @functools.cached_property
    def _files(self) -> dict[str, dict[str, Path]]:
        found: dict[str, dict[str, Path]] = {kind: {} for kind in (*FOLDERS, "scenarios")}
        for root in self.roots:
            for kind, side in FOLDERS.items():
                for folder in (root / side / kind, root / kind):
                    for path in sorted(folder.glob("*.toml")):
                        found[kind].setdefault(path.stem, path)
            for path in sorted((root / "scenarios").glob("*.toml")):
                found["scenarios"].setdefault(path.stem, path)
        return found

    def path(self, kind: str, name: str) -> Path:
        """The file of an entry named by name, alias or path; InputError with the nearest name where there is none."""
        files = self.files(kind)
        found = files.get(name) or files.get(name.casefold()) or self._aliases(kind).get(_folded(name))
        if found is not None:
            self.used.add(found)
            return found
        if name.endswith((".toml", ".json")) or os.sep in name:
            path = Path(name)
            if not path.is_file():
                raise InputError("no such file", file=path)
            self.used.add(path)
            return path
        raise InputError(f"no {_singular(kind)} is called '{name}'", key=_singular(kind), value=name, allowed=files)

    def named(self, kind: str, name: str) -> str | None:
        """The name of the entry that a name or alias means; None where nothing is so called."""
        found = self.files(kind).get(name) or self._aliases(kind).get(_folded(name))
        return None if found is None else found.stem

    @functools.cache  # noqa: B019  one library lives as long as the process
    def _aliases(self, kind: str) -> dict[str, Path]:
        aliases: dict[str, Path] = {}
        for name, path in self.files(kind).items():
            for alias in (name, *read_toml(path).get("aliases", ())):
                aliases.setdefault(_folded(alias), path)
        return aliases

    def _entry(self, kind: str, name: str, record: type[Record]) -> Record:
        path = self.path(kind, name)
        if (kind, path) not in self._read:
            self._read[kind, path] = parse(record, read_toml(path), path)
        entry: Record = self._read[kind, path]
        return entry

    def accelerator(self, name: str) -> Accelerator:
        """An accelerator's profile; a derived profile comes with the figures of its base, scaled."""
        entry = self._entry("accelerators", name, Accelerator)
        if entry.derivation is None:
            return entry
        self.used.update(self.path("accelerators", origin) for origin in (entry.derivation.base, *entry.derivation.taken.values()))
        key = ("derived", self.path("accelerators", name))
        if key not in self._read:
            self._read[key] = self._derived(entry)
        derived: Accelerator = self._read[key]
        return derived

    def _derived(self, entry: Accelerator) -> Accelerator:
        """A derived profile with its figures: base x factor for the scaled ones, another profile's for the taken ones, its own where it has any."""
        assert entry.derivation is not None
        derivation = entry.derivation
        base = self.accelerator(derivation.base)
        figures = {name: getattr(self.accelerator(origin).figures, name, None) for name, origin in derivation.taken.items()}
        for name, factor_name in derivation.scaled.items():
            if factor_name not in derivation.factors or name not in AcceleratorFigures.model_fields:
                key, value, allowed = (
                    ("factors", factor_name, derivation.factors) if factor_name not in derivation.factors else ("scaled", name, AcceleratorFigures.model_fields)
                )
                raise InputError(f"'{value}' is not known", file=self.path("accelerators", entry.name), key=f"derivation.{key}", value=value, allowed=allowed)
            figures[name] = _scaled(base, name, derivation.factors[factor_name])
        figures |= {name: figure for name, figure in entry.figures if figure is not None}
        return entry.model_copy(update={"figures": AcceleratorFigures.model_construct(**figures)})

    def system(self, name: str) -> System:
        """A system's profile."""
        if name not in self.files("systems") and name in self.files("accelerators"):
            holding = [other for other in self.files("systems") if self.system(other).accelerator == name]
            raise InputError(f"'{name}' is an accelerator: name a system that holds it", key="system", value=name, allowed=holding)
        return self._entry("systems", name, System)

    def model(self, name: str) -> Model:
        """A model by name, alias or path; the path may be a Hugging Face config.json."""
        path = self.path("models", name)
        if path.suffix == ".json":
            from accelmodel.catalog.config_json import model_from_config

            return model_from_config(path)
        return self._entry("models", name, Model)

    def ownership(self, name: str) -> Ownership:
        """What owning accelerators costs, by owner."""
        return self._entry("ownership", name, Ownership)

    def site(self, name: str) -> Site:
        """A site."""
        return self._entry("sites", name, Site)

    def workload(self, name: str) -> Workload:
        """A workload."""
        return self._entry("workloads", name, Workload)

    def shape(self, name: str) -> ShapeProfile:
        """How a load goes through the hours of a day or a week."""
        return self._entry("shapes", name, ShapeProfile)

    def reference(self, name: str) -> Reference:
        """A table of published figures to set results beside."""
        return self._entry("reference", name, Reference)

    def readings(self, name: str) -> Readings:
        """How published measurements are read."""
        return self._entry("readings", name, Readings)

    def calibration(self, name: str) -> Calibration:
        """A calibration; one with a base takes from it whatever it does not say itself."""
        path = self.path("calibrations", name)
        if ("calibrations", path) not in self._read:
            self._read["calibrations", path] = parse(Calibration, self._with_base(path), path)
        entry: Calibration = self._read["calibrations", path]
        return entry

    def _with_base(self, path: Path) -> dict[str, Any]:
        own = read_toml(path)
        base = own.get("base")
        return own if base is None else {**self._with_base(self.path("calibrations", base)), **own}

    def calibration_of(self, accelerator: Accelerator) -> Calibration:
        """The calibration of an accelerator's software stack: the newest that names it, of one day a fitted one before its prior."""
        self.used.update(self.files("calibrations").values())
        found = self._calibration_by_stack.get(accelerator.stack)
        if found is None:
            raise InputError(f"no calibration covers the software stack '{accelerator.stack}' of accelerator '{accelerator.name}'")
        return found

    @functools.cached_property
    def _calibration_by_stack(self) -> dict[str, Calibration]:
        found = [self.calibration(name) for name in self.files("calibrations")]
        ascending = sorted(found, key=lambda calibration: (calibration.date, calibration.prior is not None))
        return {stack: calibration for calibration in ascending for stack in calibration.stacks}

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """Every source by its key; a user's own folder may add more, and a snapshot of prices may hold its own."""
        found: dict[str, Source] = {}
        for root in self.roots:
            for path in (*(root / "hardware_profiles").glob("sources*.toml"), *root.glob("sources*.toml")):
                for key, value in read_toml(path).items():
                    found.setdefault(key, parse(Source, value, f"{path}: {key}"))
        for path in self.files("offers").values():
            if re.search(r"^\[sources\.", path.read_text(encoding="utf-8"), re.MULTILINE):
                for key, value in read_toml(path)["sources"].items():
                    found.setdefault(key, parse(Source, value, f"{path}: sources.{key}"))
        return found

    def date_of(self, figure: Figure) -> str | None:
        """When a figure held: its own date, or that of its source; None where neither has one."""
        return figure.date or self._source_dates.get(figure.source or "")

    @functools.cached_property
    def _source_dates(self) -> dict[str, str]:
        """Dates of the sources that have one, without the cost of checking all of each."""
        found: dict[str, str] = {}
        for root in self.roots:
            for path in (*(root / "hardware_profiles").glob("sources*.toml"), *root.glob("sources*.toml")):
                for key, value in read_toml(path).items():
                    if isinstance(value, dict) and "date" in value:
                        found.setdefault(key, str(value["date"]))
        return found

    def measurements(self) -> Path:
        """The newest file of published measurements, by its name, of the first root that has one; InputError where none has."""
        for root in self.roots:
            files = self.measurement_files(root)
            if files:
                return files[-1]
        raise InputError("no catalogue holds published measurements", key="measurements", allowed=("hardware_profiles/measurements/NAME.parquet",))

    def measurement_files(self, root: Path) -> list[Path]:
        """Files of published measurements in a root, the newest last."""
        folders = (root / "hardware_profiles" / "measurements", root / "measurements")
        found = [path for folder in folders for path in folder.glob("*") if path.suffix in (".parquet", ".csv")]
        return sorted(found, key=lambda path: path.name)

    def all_files(self) -> Iterator[Path]:
        """Every file of the catalogue, in a fixed order."""
        for root in self.roots:
            for side in ("hardware_profiles", "scenarios", *FOLDERS):
                yield from sorted((root / side).rglob("*.toml"))

    def snapshot(self, scenario: Path) -> dict[str, bytes]:
        """The files used, and all sources, as they are now: place in a folder that may serve as a catalogue -> content; the scenario lies on top."""
        found = {scenario.name: scenario.read_bytes()}
        for path in sorted((self.used - {scenario}).union(self._source_files)):
            root = next((root for root in (*self.roots, scenario.parent) if path.is_relative_to(root)), path.parent.parent)
            found.setdefault(path.relative_to(root).as_posix(), path.read_bytes())
        return found

    @functools.cached_property
    def _source_files(self) -> tuple[Path, ...]:
        return tuple(path for path in self.all_files() if path.stem.startswith("sources"))

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of all catalogue files, so that a result can be reproduced and a stale one recognised."""
        digest = hashlib.sha256()
        for path in self.all_files():
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _scaled(base: Accelerator, name: str, factor: Figure) -> Figure | None:
    """A base's figure times a factor, range included; None where the base does not have it."""
    figure: Figure | None = getattr(base.figures, name)
    if figure is None:
        return None
    low, high = (None if bound is None else bound * factor.value for bound in (figure.low, figure.high))
    return Figure(
        value=figure.value * factor.value,
        unit=figure.unit,
        kind="derived",
        source=factor.source,
        low=low,
        high=high,
        formula=f"{factor.value:g} x {base.name}.{name} ({figure.value:g} {figure.unit})",
    )


def _folded(name: str) -> str:
    """A name as compared: case, spaces and underscores do not count.

    >>> _folded("H100 SXM_80GB")
    'h100-sxm-80gb'
    """
    return name.strip().casefold().replace(" ", "-").replace("_", "-")


def _singular(kind: str) -> str:
    return kind if kind in ("ownership", "readings") else kind.removesuffix("s")
