"""Every table of a run as CSV in one zip file, with a line of units in a file of its own and what the run rests on."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from accelmodel.reports.content import Content, Listing, Study

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same run
_FORMULA = re.compile(r"[=+\-@\t\r]")


def write_csv(of: Content, path: Path) -> None:
    """Write a zip file: a CSV per study with one line of names and a row per row, `columns.csv` with unit and description of every column, the answer, the
    assumptions, inputs, sources and `metadata.csv`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for study in of.studies:
            names = study.table.column_names
            _add(archive, f"{file_name(study.name)}.csv", names, ([row[name] for name in names] for row in study.every_row()))
        _add(archive, "columns.csv", ("study", "column", "unit", "label", "description"), _columns(of.studies))
        _add(archive, "answer.csv", ("study", "answer"), of.answer)
        for listing in of.listings[:-1]:
            _listing(archive, listing)
        about = [("title", of.title), ("description", of.description), *of.identity.rows, *(("note", words) for words in of.missing)]
        _add(archive, "metadata.csv", ("what", "value"), [*about, *((f"note of {study.name}", note) for study in of.studies for note in study.notes)])


def file_name(study: str) -> str:
    """A study's name as that of a file."""
    return re.sub(r"[^\w.-]+", "-", study)


def safe(value: Any) -> Any:
    """Text that a spreadsheet does not take for a formula; numbers as they are, in full.

    >>> safe("=1+1"), safe(-0.5), safe(None), safe(True)
    ("'=1+1", -0.5, '', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value != value:
        return ""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _columns(studies: Sequence[Study]) -> Iterable[Sequence[str]]:
    for study in studies:
        for name in study.table.column_names:
            words, unit, description = study.described(name)
            yield study.name, name, unit, words, description


def _listing(archive: zipfile.ZipFile, listing: Listing) -> None:
    _add(archive, f"{file_name(listing.title.split()[0].lower())}.csv", listing.heads, listing.rows)


def _add(archive: zipfile.ZipFile, name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([safe(value) for value in row] for row in rows)
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), sink.getvalue().encode("utf-8"), zipfile.ZIP_DEFLATED)
