"""`accelmodel run` and `accelmodel new`: scenarios."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accelmodel.cli.completion import names
from accelmodel.cli.options import Catalog, OwnCatalog, Quiet
from accelmodel.cli.output import choice, emit, emit_json, open_catalog, results, tell, tell_of_compilation
from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.studies.run import Run


def run(
    scenario: Annotated[str, typer.Argument(autocompletion=names("scenarios"), help="Name of a shipped scenario, or path of one of your own.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario: base.occupancy=0.6. May be given several times.")
    ] = None,
    studies: Annotated[list[str] | None, typer.Option("--study", metavar="NAME", help="Run this study only. May be given several times.")] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="DIR", help="Where tables and run.json go, a folder or a URL of fsspec's; default results/SCENARIO."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    executor: Annotated[str, typer.Option(metavar="threads|dask", help="Who computes the chunks of a sweep.")] = "threads",
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Scheduler of dask's, such as tcp://host:8786; a cluster on this machine where absent.")
    ] = None,
    catalog: Catalog = None,
    output_format: Annotated[str, typer.Option("--format", metavar="table|json|csv", help="How to print the result.")] = "table",
    quiet: Quiet = False,
) -> None:
    """Run a scenario: print its answer with assumptions and sources, and write its tables."""
    choice("--format", output_format, ("table", "json", "csv"))
    overrides = dict(_setting(text) for text in settings or ())
    from accelmodel.results.store import is_url
    from accelmodel.studies.run import run as run_scenario
    from accelmodel.studies.scenario import load

    books = open_catalog(catalog)
    path, asked = load(scenario, books, overrides)
    if output_format == "csv" and len(studies or asked.studies) > 1:
        raise InputError("csv is one table: pick a study by --study", key="--study", allowed=asked.studies)
    folder: Path | str = Path("results") / path.stem if output is None else output if is_url(output) else Path(output)
    with _writable(folder):
        tell_of_compilation(quiet=quiet)
        found = run_scenario(
            scenario,
            set=overrides,
            studies=studies or None,
            seed=seed,
            catalog=books,
            progress=lambda message: tell(f"running {message}", quiet=quiet),
            output=folder,
            executor=executor,
            scheduler=scheduler,
        )
        written = found.save(folder)
    _print(found, output_format)
    tell(f"wrote {len(written)} files to {folder}", quiet=quiet)
    if found.is_partial:
        sys.stdout.flush()
        tell("the result is partial; the same command goes on from there")
        raise typer.Exit(130)


def _setting(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` as key and value; the value is TOML (0.6, true, [1, 2], "text") or, where it is none, the text itself."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w\-]+(\.[\w\-]+)*", key.strip()):
        raise InputError(f"'{text}' is not KEY=VALUE, such as base.occupancy=0.6", key="--set", value=text)
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value
    return key.strip(), parsed["value"] if parsed.keys() == {"value"} else value


@contextlib.contextmanager
def _writable(folder: Path | str) -> Iterator[None]:
    """See before anything is computed that a folder takes files; where the work then fails, leave no empty folder behind."""
    from accelmodel.results.store import check_folder

    if isinstance(folder, str):  # a URL, which has no empty folders
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    check_folder(folder)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()
        raise


def _print(found: Run, output_format: str) -> None:
    if output_format == "json":
        emit_json(found.document())
    elif output_format == "csv":
        import io

        import pyarrow.csv

        table, *_ = found.tables.values()
        sink = io.BytesIO()
        pyarrow.csv.write_csv(_undictionaried(table), sink)
        emit(sink.getvalue().decode())
    else:
        from accelmodel.reports.terminal import print_run

        print_run(found, results())


def _undictionaried(table: Any) -> Any:
    """The table with plain strings where it has dictionary-encoded ones, which CSV cannot write."""
    import pyarrow as pa

    fields = [pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields))


def new(
    name: Annotated[str, typer.Argument(help="Name of the scenario; NAME.toml appears in the current folder.")],
    *,
    _catalog: OwnCatalog = None,
) -> None:
    """Write a commented scenario to start from; its first line names its JSON Schema to editors."""
    from accelmodel.results.store import write
    from accelmodel.studies import schemas
    from accelmodel.studies.scenario import template

    stem = name.removesuffix(".toml")
    if not re.fullmatch(r"[A-Za-z0-9][\w.\-]*", stem):
        raise InputError("a name has letters, digits, '-', '_' and '.' only", key="NAME", value=name)
    path = Path(f"{stem}.toml")
    if path.exists():
        raise InputError("exists already; nothing was overwritten", file=path)
    try:
        write(path, lambda temporary: temporary.write_text(f"{schemas.line(Path())}\n{template(stem)}", encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=path) from None
    tell(f"wrote {path}; run it with: accelmodel run {path}")
