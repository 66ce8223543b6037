"""A run as it was saved, or as it stands in memory: its numbers, and the inputs from which it runs again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelmodel.catalog.figures import parse
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError
from accelmodel.studies.run import SCHEMA, Run
from accelmodel.studies.scenario import Scenario

if TYPE_CHECKING:
    import pyarrow as pa


class Frozen(Library):
    """The files that a run read, and nothing beside them: what ships today, or is in a user's folders, may be newer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.roots = (folder,)


@dataclass(frozen=True)
class SavedRun:
    """A run: where it lies, its document, its scenario as it ran, the files that it read by their places, and its tables by study."""

    where: str
    document: Mapping[str, Any]
    scenario: Scenario
    files: Mapping[str, bytes]
    tables: Mapping[str, pa.Table]

    @staticmethod
    def of(run: Run | Path | str) -> SavedRun:
        """A run, or the folder that it was saved to; InputError where the folder holds none, or not all of it."""
        return _in_memory(run) if isinstance(run, Run) else _in_folder(Path(run))

    @property
    def edited(self) -> list[str]:
        """Frozen files that are not any more what the run has read."""
        return [name for name, digest in self.document["files"].items() if hashlib.sha256(self.files[name]).hexdigest() != digest]


def _in_memory(run: Run) -> SavedRun:
    document = run.document()
    return SavedRun(
        f"the run of '{run.scenario}'", document, _scenario(document, run.path), run.files, {name: study.table for name, study in run.studies.items()}
    )


def _in_folder(folder: Path) -> SavedRun:
    document = read_document(folder)
    files = {name: _bytes(folder / "inputs" / name) for name in document["files"]}
    tables = {name: read_table(folder / f"{name}.parquet") for name in document["studies"]}
    return SavedRun(str(folder), document, _scenario(document, folder / "run.json"), files, tables)


def _scenario(document: Mapping[str, Any], file: Path) -> Scenario:
    return parse(Scenario, as_read(document["inputs"]), file)


def read_document(folder: Path) -> dict[str, Any]:
    """The run's document; InputError where the folder holds none."""
    path = folder / "run.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"no run lies here: {error.strerror}; `accelmodel run SCENARIO --output {folder}` writes one", file=path) from None
    except ValueError:
        raise InputError("is no JSON document", file=path) from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError("is not the document of a run", file=path, key="schema")
    return document


def read_table(path: Path) -> pa.Table:
    """A saved table."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError("no such file: the run's folder is not whole", file=path)
    try:
        return pq.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"is no table of a run: {error}", file=path) from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise InputError("no such file: the run's folder is not whole", file=path) from None


def as_read(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The scenario of a run's document as one that has just been read: lists of axes as tuples."""
    axes = {key: tuple(axis) if isinstance(axis, list) else axis for key, axis in inputs.get("axes", {}).items()}
    return {**inputs, "axes": axes}
