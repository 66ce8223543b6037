"""`accelmodel validate`: predictions beside published measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accelmodel.cli.options import Catalog, Format, Quiet
from accelmodel.cli.output import choice, emit, emit_json, open_catalog, results, tell, tell_of_compilation

if TYPE_CHECKING:
    from accelmodel.studies.validate import Report

Measured = Annotated[Path, typer.Argument(metavar="MEASURED", help="Parquet or CSV, one metric a row: model, accelerator, ..., metric, value.")]
_TITLES = {"by_metric": "Metric", "by_accelerator": "Accelerator", "by_model": "Model", "by_engine": "Serving engine"}


def validate(
    measured: Measured,
    *,
    predictions: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every row with its prediction, or the reason why it has none.")] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Predict published measurements row by row, and say how far off: by metric, accelerator, model and serving engine."""
    choice("--format", output_format, ("table", "json"))
    if predictions is not None and not predictions.parent.is_dir():
        from accelmodel.errors import InputError

        raise InputError("no such folder", file=predictions.parent, key="--predictions")
    from accelmodel.studies.validate import validate as compare

    library = open_catalog(catalog)
    tell_of_compilation(quiet=quiet)
    report = compare(measured, catalog=library)
    if predictions is not None:
        report.save(predictions)
        tell(f"wrote {predictions}", quiet=quiet)
    if output_format == "json":
        emit_json(report.summary())
    else:
        _show(report)


def _show(report: Report) -> None:
    from rich.table import Table

    summary, console = report.summary(), results()
    emit(f"{summary['predicted']:,} of {summary['rows']:,} rows predicted")
    for reason, count in summary["skipped"].items():
        emit(f"  {count:6,} left out: {reason}")
    for key, title in _TITLES.items():
        table = Table(title=None, box=None, pad_edge=False)
        table.add_column(title)
        for name in ("metric", "n", "median %", "mean %", "90th %", "bias %", "in 90 % interval"):
            table.add_column(name, justify="left" if name == "metric" else "right")
        levels = {"": summary[key]} if key == "by_metric" else summary[key]
        for level, metrics in levels.items():
            for metric, errors in metrics.items():
                table.add_row(level or metric, metric, *_cells(errors))
        emit("")
        console.print(table)
    emit("")
    for text in report.assumptions:
        emit(f"assumed: {text}")


def _cells(errors: dict[str, Any]) -> list[str]:
    shares = [f"{100 * errors[name]:.1f}" for name in ("median_ape", "mape", "p90_ape", "bias")]
    covered = errors["coverage_90"]
    return [f"{errors['n']:,}", *shares, "" if covered is None else f"{100 * covered:.0f}"]
