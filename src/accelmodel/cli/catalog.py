"""`accelmodel catalog`: what is known, and whether it holds together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accelmodel.cli.completion import kinds, names
from accelmodel.cli.options import Catalog, Format, Kind
from accelmodel.cli.output import choice, emit, emit_json, open_catalog, results, tell
from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.catalog.checks import Finding
    from accelmodel.catalog.library import Library

app = typer.Typer(help="What is known of accelerators, systems, models, prices and sites, figure by figure with its source.")

_KINDS = "accelerators, systems, models, offers, sites, workloads, shapes, ownership, calibrations, readings, reference, scenarios or sources"


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(autocompletion=kinds, help=f"{_KINDS[0].upper()}{_KINDS[1:]}; all but sources where absent.")] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
) -> None:
    """Entries with their key figures."""
    from accelmodel.catalog.entries import list_entries

    choice("--format", output_format, ("table", "json"))
    rows = list_entries(kind, open_catalog(catalog))
    if output_format == "json":
        emit_json({"entries": rows})
        return
    from accelmodel.reports.terminal import print_catalog_rows

    print_catalog_rows(rows, results())


@app.command()
def show(
    name: Annotated[str, typer.Argument(autocompletion=names(), help="Name, alias, path or offer id of an entry, or key of a source.")],
    kind: Kind = None,
    catalog: Catalog = None,
    output_format: Format = "table",
) -> None:
    """One entry: every figure with unit, range, kind and source."""
    from accelmodel.catalog import entries

    choice("--format", output_format, ("table", "json"))
    library = open_catalog(catalog)
    entry = entries.show(name, library, kind)
    if output_format == "json":
        emit_json(entries.document(entry, library))
        return
    from accelmodel.reports.terminal import print_entry

    print_entry(entry, library, results())


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files or folders; the whole catalogue where absent.")] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
) -> None:
    """Verify names, units, sources, plausibility and what is printed twice; exit code 2 where something is wrong."""
    from accelmodel.catalog.checks import check as check_catalog
    from accelmodel.catalog.checks import files_to_check

    choice("--format", output_format, ("table", "json"))
    library = open_catalog(catalog) if catalog else None
    files = files_to_check(library, paths or ())
    findings = [*check_catalog(library, paths or ()), *_scenarios(files, library)]
    if output_format == "json":
        emit_json({"files": len(files), "findings": [vars(finding) for finding in findings]})
    else:
        from accelmodel.reports.terminal import print_findings

        print_findings(findings, len(files), results())
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(2)


def _scenarios(files: list[Path], library: Library | None) -> list[Finding]:
    """Scenarios among the files that cannot be read."""
    from accelmodel.catalog.checks import Finding, is_scenario
    from accelmodel.studies.scenario import load

    books = library or open_catalog(None)
    found = []
    for path in files:
        if is_scenario(path):
            try:
                load(path, books)
            except InputError as error:
                found.append(Finding("error", str(error.file or path), error.key or "", error.message))
    return found


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", autocompletion=names(), help="Name, alias or path of the first entry.")],
    b: Annotated[str, typer.Argument(metavar="B", autocompletion=names(), help="The second, of the same kind.")],
    kind: Kind = None,
    catalog: Catalog = None,
    output_format: Format = "table",
) -> None:
    """Two entries side by side: every figure and the ratio B/A, of systems in total and per accelerator."""
    from accelmodel.catalog.compare import diff as compare

    choice("--format", output_format, ("table", "json"))
    found = compare(a, b, open_catalog(catalog), kind)
    if output_format == "json":
        emit_json(found.to_dict())
        return
    from accelmodel.reports.terminal import print_comparison

    print_comparison(found, results())


@app.command()
def schema(
    kind: Annotated[str | None, typer.Argument(autocompletion=kinds, help=f"{_KINDS[0].upper()}{_KINDS[1:]}; all where absent.")] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="A folder to write into; one schema is printed where absent.")] = None,
    catalog: Catalog = None,
) -> None:
    """JSON Schemas by which editors complete and check scenarios and entries; names are those of the catalogue."""
    from accelmodel.studies import schemas

    library = open_catalog(catalog)
    if kind is None and output is None:
        raise InputError("all schemas make several files: give a folder for them, or one kind", key="--output", allowed=schemas.KINDS)
    if output is None:
        emit(schemas.text(str(kind), library))
        return
    try:
        written = schemas.write(output, schemas.KINDS if kind is None else (kind,), library)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=output, key="--output") from None
    tell(f"wrote {len(written)} schemas to {output}")
