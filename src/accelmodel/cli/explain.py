"""`accelmodel explain`: one number of a run, walked down to its figures and sources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelmodel.cli.options import Format, OwnCatalog, Quiet
from accelmodel.cli.output import choice, emit_json, results, tell_of_compilation


def explain(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder that `accelmodel run` wrote.")],
    *,
    study: Annotated[str, typer.Option(metavar="NAME", help="The study.")],
    row: Annotated[int, typer.Option(metavar="N", help="The row of its table, from 0.")] = 0,
    column: Annotated[str, typer.Option(metavar="COLUMN", help="The column.")],
    depth: Annotated[int | None, typer.Option(metavar="N", min=0, help="How many levels to show; all where absent.")] = None,
    output_format: Format = "table",
    _catalog: OwnCatalog = None,
    quiet: Quiet = False,
) -> None:
    """Walk one number of a run down to its figures and sources; the number is found again from the run's frozen inputs first."""
    choice("--format", output_format, ("table", "json"))
    from accelmodel.studies.explain import explain as walk

    tell_of_compilation(quiet=quiet)
    found = walk(run_dir, study=study, row=row, column=column)
    if output_format == "json":
        emit_json(found.to_dict())
        return
    from accelmodel.reports.explanation import print_explanation

    print_explanation(found, results(), depth)
