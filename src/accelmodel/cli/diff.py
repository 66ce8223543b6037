"""`accelmodel diff`: two runs, what changed in their inputs, and how much of each number's change each input explains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelmodel.cli.options import Format, OwnCatalog, Quiet
from accelmodel.cli.output import choice, emit_json, results, tell, tell_of_compilation


def diff(
    a: Annotated[Path, typer.Argument(metavar="RUN_DIR_A", help="The folder that `accelmodel run` wrote before.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_DIR_B", help="The folder that it wrote after.")],
    *,
    studies: Annotated[list[str] | None, typer.Option("--study", metavar="NAME", help="This study only. May be given several times.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="COLUMN", help="This column only; those that a study shows where absent. May be given several times."),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="sequential|shapley", help="How a change is split: the inputs one after the other, or the mean over their orders.")
    ] = "sequential",
    detail: Annotated[bool, typer.Option("--detail", help="Take every changed figure of a file as an input of its own.")] = False,
    output_format: Format = "table",
    _catalog: OwnCatalog = None,
    quiet: Quiet = False,
) -> None:
    """Compare two runs: changed inputs, and how much of the change of each number each of them explains, exactly."""
    choice("--format", output_format, ("table", "json"))
    from accelmodel.studies.diff import METHODS
    from accelmodel.studies.diff import diff as compare

    choice("--method", method, METHODS)
    tell_of_compilation(quiet=quiet)
    found = compare(a, b, studies=studies, columns=columns, method=method, detail=detail, progress=lambda message: tell(message, quiet=quiet))
    if output_format == "json":
        emit_json(found.to_dict())
        return
    from accelmodel.reports.difference import print_difference

    print_difference(found, results())
