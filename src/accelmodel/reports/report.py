"""Reports of runs as files: a page, a workbook, or tables as CSV; what the file's name ends in decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.catalog.library import Library
    from accelmodel.reports.content import Content
    from accelmodel.studies.run import Run

FORMATS = (".html", ".xlsx", ".csv.zip")


def report(run: Run | Path | str, output: Path | str, *, measured: Path | str | None = None, catalog: Library | None = None) -> Path:
    """Write a report of a run, or of the folder that it was saved to; returns where it lies.

    `output` ends in .html (one page that needs no network), .xlsx (a workbook with live formulas for the last steps of the money) or .csv.zip (every table as
    CSV, with units and what the run rests on). `measured` is a file of measurements, as `validate` reads them, to lay over the run's frontiers in place of the
    catalogue's published ones; `catalog` says where those are and what the names in them mean, and nothing else: the run has its own entries, as it read them.
    InputError for another ending, a folder without a run, a file that cannot be written; nothing half-written is left.
    """
    path = Path(output)
    write_report = writer(path)
    from accelmodel.reports.content import content
    from accelmodel.results.store import write

    if path.is_dir():
        raise InputError("is a folder: name a file", file=path, key="--output")
    found = content(run, measured, catalog)
    try:
        return write(path, lambda temporary: write_report(found, temporary))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=path, key="--output") from None


def writer(path: Path) -> Callable[[Content, Path], None]:
    """What writes a file of this name; InputError for an ending that has no format, or a format whose package is not installed."""
    name = path.name.casefold()
    if name.endswith(".html"):
        from accelmodel.reports import html

        html.need_plotly()
        return html.write_html
    if name.endswith(".xlsx"):
        from accelmodel.reports import workbook

        workbook.need_xlsxwriter()
        return workbook.write_workbook
    if name.endswith(".csv.zip"):
        from accelmodel.reports import csv_files

        return csv_files.write_csv
    ending = ".csv.zip" if name.endswith((".csv", ".zip")) else None
    raise InputError(f"'{path.name}' has no ending that a report has", key="--output", value=path.name, allowed=FORMATS, nearest=ending)
