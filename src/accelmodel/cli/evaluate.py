"""`accelmodel evaluate`: one operating point."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accelmodel.cli.options import DRAWN, LOAD, MONEY, REPLICA, Catalog, Format, Quiet, given, takes
from accelmodel.cli.output import choice, emit_json, open_catalog, results, tell_of_compilation, tell_of_step
from accelmodel.errors import DoesNotFitError

if TYPE_CHECKING:
    from accelmodel.core.replica import Replica
    from accelmodel.studies.money import Money
    from accelmodel.studies.points import Point


@takes(REPLICA, LOAD | DRAWN)
def evaluate(
    *,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME]...", help="Which columns, in which order; all where absent. Percentiles too: time_to_first_token_p99_s."),
    ] = None,
    anchor: Annotated[
        Path | None, typer.Option(metavar="MEASURED", help="Measurements of this very replica (isl, osl, concurrency, metric, value) that correct it.")
    ] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Latencies, throughput, memory, power, cost and margin of one replica at one load."""
    choice("--format", output_format, ("table", "json"))
    from accelmodel.studies import points
    from accelmodel.studies.money import money

    library = open_catalog(catalog)
    prices = given(options, MONEY)
    wanted = [name.strip() for text in columns for name in text.split(",")] if columns else None
    as_json = output_format == "json"
    replica = points.replica(**given(options, REPLICA), catalog=library)
    tell_of_compilation(quiet=quiet)
    if anchor is not None:
        from accelmodel.studies.anchor import anchor as correct

        replica = correct(replica, anchor)
    terms = money(replica, **prices, catalog=library)
    drawn = given(options, DRAWN)
    point = points.evaluate(replica, **given(options, LOAD), columns=wanted, **drawn, **prices, catalog=library)
    if not as_json:
        whole = point if wanted is None else points.evaluate(replica, **given(options, LOAD), **prices, catalog=library)
        _refuse_what_cannot_run(whole, replica)
    seed = {"seed": drawn.get("seed", 0)} if points.percentile_names(wanted) else {}
    if seed and options["requests_per_s"] is None:
        tell_of_step(drawn, quiet=quiet)
    _show(point, replica, terms, seed, as_json=as_json)


def _refuse_what_cannot_run(point: Point, replica: Replica) -> None:
    """A reader is told why; a script reads it from the document (`fits`, `why_not`)."""
    from accelmodel.reports.terminal import why_not

    if not point.fits:
        raise DoesNotFitError(why_not(point.to_dict(), replica))


def _show(point: Point, replica: Replica, terms: Money, seed: dict[str, int], *, as_json: bool) -> None:
    from accelmodel.catalog.entries import named_sources
    from accelmodel.reports.terminal import print_point, why_not
    from accelmodel.studies.assumptions import assumptions, sources

    rests_on = assumptions(replica, terms)
    known = named_sources(sorted(sources(replica, terms)), terms.catalog)
    if not as_json:
        print_point(point, replica, rests_on, results(), known)
        return
    values = point.to_dict()
    emit_json(
        {
            **_identity(replica),
            **values,
            "why_not": why_not(values, replica) if values.get("fits") is False else None,
            "model_is_estimate": replica.model.is_estimate,
            "assumptions": [vars(assumption) for assumption in rests_on],
            "sources": {key: source.model_dump(exclude_none=True) for key, source in known.items()},
            **seed,
            **_provenance(terms),
        }
    )


def _identity(replica: Replica) -> dict[str, Any]:
    """The columns that say which replica a point is of."""
    from accelmodel.catalog.entries import routed_experts

    return {
        "model": replica.model.name,
        "system": replica.system.name,
        "accelerator": replica.accelerator.name,
        "accelerators": replica.accelerators,
        "engine": replica.engine,
        "mode": replica.serving.mode,
        "tensor_parallel": replica.parallelism.tensor,
        "expert_parallel": replica.parallelism.expert,
        "attention_data_parallel": replica.parallelism.attention_data,
        "pipeline_parallel": replica.parallelism.pipeline,
        "context_parallel": replica.parallelism.context,
        "weights": replica.weight_dtype("expert" if routed_experts(replica.model) else "ffn"),
        "kv": replica.kv_dtype,
    }


def _provenance(terms: Money) -> dict[str, Any]:
    import accelmodel

    return {"schema": "accelmodel.point/1", "version": accelmodel.__version__, "attribution": terms.attribution, "catalog_sha256": terms.catalog.sha256}
