"""`accelmodel optimize`: the best replicas at latency targets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from accelmodel.cli.options import DRAWN, MONEY, SEARCHED_LOAD, SEARCHED_REPLICA, Catalog, Format, Quiet, given, takes
from accelmodel.cli.output import choice, emit_json, open_catalog, results, tell, tell_of_compilation, tell_of_step

_SHOWN = (
    *("system", "accelerators", "tensor_parallel", "attention_data_parallel", "expert_parallel", "concurrency"),
    *("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s_per_accelerator", "binding", "cost_usd_per_mtok", "margin_fraction"),
)


_DRAWN = {name: option for name, option in DRAWN.items() if name != "burstiness"}  # a closed loop has no arrivals of its own


@takes(SEARCHED_REPLICA, SEARCHED_LOAD | _DRAWN)
def optimize(
    *,
    top: Annotated[int, typer.Option(help="How many replicas to show.", min=1)] = 10,
    by: Annotated[
        str, typer.Option(metavar="COLUMN", help="What ranks: cost_usd_per_mtok, output_tokens_per_s_per_accelerator, margin_fraction.")
    ] = "cost_usd_per_mtok",
    percentile: Annotated[
        int | None, typer.Option(help="Let the targets bound this percentile (50, 90, 95, 99), not the mean: the replicas shown are simulated.")
    ] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Cut a model in every legal way over some systems, run each cut at the largest load that meets the latency targets, and rank."""
    choice("--format", output_format, ("table", "json"))
    from accelmodel.studies.optimize import optimize as search

    library = open_catalog(catalog)
    tell_of_compilation(quiet=quiet)
    if options["ttft_s"] is None and options["tpot_s"] is None:
        tell("no latency target (--ttft-s, --tpot-s): every replica runs the largest load that its memory holds", quiet=quiet)
    if percentile is not None:
        tell_of_step(given(options, _DRAWN), quiet=quiet)
    asked = given(options, SEARCHED_REPLICA) | given(options, SEARCHED_LOAD) | given(options, MONEY) | given(options, _DRAWN)
    found = search(**asked, top=top, by=by, percentile=percentile, catalog=library)
    if output_format == "json":
        import accelmodel

        document = {"schema": "accelmodel.optimize/1", "version": accelmodel.__version__, "catalog_sha256": library.sha256, "by": by}
        drawn = {} if percentile is None else {"percentile": percentile, "seed": options["seed"] or 0}
        emit_json({**document, **drawn, "replicas": found.to_pylist()})
        return
    from accelmodel.reports.terminal import print_rows

    tails = [name for name in found.column_names if percentile is not None and f"_p{percentile}_s" in name]
    print_rows(found.to_pylist(), [*(name for name in _SHOWN if name in found.column_names), *tails], results())
