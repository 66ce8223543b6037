"""`accelmodel report`: a run as a page, a workbook or tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelmodel.cli.options import Catalog, Quiet
from accelmodel.cli.output import open_catalog, tell, tell_of_compilation


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder that `accelmodel run` wrote.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where the report goes: FILE.html (a page), FILE.xlsx (a workbook), FILE.csv.zip (tables).")
    ],
    measured: Annotated[
        Path | None,
        typer.Option("--measured", metavar="MEASURED", help="Measurements, as `validate` reads them, to lay over the frontiers in place of the catalogue's."),
    ] = None,
    catalog: Catalog = None,
    quiet: Quiet = False,
) -> None:
    """Write a run as a report: the answer in words, charts, every table, and what they rest on."""
    from accelmodel.numbers import text
    from accelmodel.reports.report import report as write_report
    from accelmodel.reports.report import writer

    writer(output)
    tell_of_compilation(quiet=quiet)
    written = write_report(run_dir, output, measured=measured, catalog=open_catalog(catalog))
    tell(f"wrote {written} ({text(written.stat().st_size, 'byte')})", quiet=quiet)
