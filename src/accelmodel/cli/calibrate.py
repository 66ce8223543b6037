"""`accelmodel calibrate`: fit the engine to measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accelmodel.cli.options import Catalog, Quiet
from accelmodel.cli.output import emit, open_catalog, tell, tell_of_compilation
from accelmodel.cli.validate import Measured

if TYPE_CHECKING:
    from accelmodel.catalog.library import Library
    from accelmodel.studies.calibrate import Calibrated


def calibrate(
    measured: Measured,
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the calibrations' TOML files; made where it is missing.")],
    cross_validate: Annotated[bool, typer.Option("--cross-validate", help="Print the errors on groups left out whole.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page of Markdown about the errors on left-out groups, with drawings beside it.")
    ] = None,
    ablation: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page about what each fitted parameter earns. Takes minutes.")] = None,
    kernels: Annotated[Path | None, typer.Option(metavar="FILE", help="Latencies of kernels, which inform the priors of operators.")] = None,
    catalog: Catalog = None,
    quiet: Quiet = False,
) -> None:
    """Fit the parameters of the step model to measurements, starting from their priors, and judge the fit on groups left out whole."""
    from accelmodel.reports.scatter import need_matplotlib
    from accelmodel.studies.calibrate import cross_validated
    from accelmodel.studies.kernel_priors import estimates

    if output.exists() and not output.is_dir():
        from accelmodel.errors import InputError

        raise InputError("is a file, not a folder", file=output, key="--output")
    if report is not None:
        need_matplotlib()
    library = open_catalog(catalog)
    told = {} if kernels is None else estimates(kernels, library)
    tell_of_compilation(quiet=quiet)
    result = cross_validated(measured, output, kernels=told, catalog=library, progress=lambda message: tell(message, quiet=quiet))
    if report is not None:
        _write_page(report, result, measured, library)
        tell(f"wrote {report}, and drawings beside it", quiet=quiet)
    if ablation is not None:
        from accelmodel.studies import ablation as study

        ablation.write_text(study.page(result, told, library, lambda message: tell(message, quiet=quiet)), encoding="utf-8")
        tell(f"wrote {ablation}", quiet=quiet)
    for calibration in result.calibrations:
        emit(f"{calibration.name}: {calibration.fitted_on}")
        for name, error in calibration.errors.items() if cross_validate else ():
            emit(f"  left out, {name}: median {100 * error.median:.1f} %, mean {100 * error.mean:.1f} %, 90th {100 * error.p90:.1f} % of {error.rows:,} rows")


def _write_page(path: Path, result: Calibrated, measured: Path, catalog: Library) -> None:
    """The page about errors, and a drawing of each quantity beside it, named after page and quantity."""
    from accelmodel.reports.scatter import scatter
    from accelmodel.studies.accuracy import UNITS, page, shown
    from accelmodel.studies.validate import validate

    rows = shown(result)
    drawn = {name: rows[rows["quantity"] == name] for name in UNITS}
    pictures = {
        name: scatter(path.with_name(f"{path.stem}-{name}.svg"), some, "load", unit).name
        for (name, some), unit in zip(drawn.items(), UNITS.values(), strict=True)
        if len(some)
    }
    path.write_text(page(result, catalog, pictures, validate(measured, catalog=catalog)), encoding="utf-8")
