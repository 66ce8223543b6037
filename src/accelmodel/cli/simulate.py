"""`accelmodel simulate`: a trace of requests served request by request."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from accelmodel.cli.options import MONEY, REPLICA, Catalog, Format, Quiet, Shared, given, takes
from accelmodel.cli.output import choice, emit_json, open_catalog, results, tell, tell_of_compilation
from accelmodel.errors import InputError

_LOAD = {
    "trace": Shared(str, "Requests to serve: a Parquet or CSV file with arrival_s, input_tokens, output_tokens, or a shipped trace by name."),
    "replicas": Shared(int, "Replicas that serve them (that decode, where pools are apart); 1 where absent."),
    "prefill_replicas": Shared(int, "Replicas that prefill, where pools are apart (--mode disaggregated)."),
    "routing": Shared(str, "How a request finds its replica: least-loaded (where absent), round-robin, session, prefix-affine."),
    "clients": Shared(int, "Serve the trace's requests to so many clients, each sending its next when its last is done."),
    "stretch": Shared(float, "Put arrivals so many times as far apart; 1 where absent."),
    "thicken": Shared(int, "Send so many copies of the trace, moved by up to a minute; 1 where absent."),
    "seed": Shared(int, "Seed of whatever is drawn; 0 where absent."),
    "prefix_cache_tokens": Shared(float, "Tokens of a replica's prefix cache; what the KV pool spares where absent, none at 0."),
    "largest_batch": Shared(int, "Sequences that an iteration holds at most; 2048 where absent."),
    "when_full": Shared(str, "Where the KV pool is full: wait (where absent) for what is reserved, or preempt: evict the last admitted, compute anew."),
    "ttft_s": Shared(float, "Target of the time to first token, for goodput."),
    "tpot_s": Shared(float, "Target of the time per output token, for goodput."),
}
_DRAWN = {
    "requests_per_s": Shared(float, "Requests per second of a generated trace, or, with a trace, of new arrivals for its requests."),
    "duration_s": Shared(float, "Seconds of a generated trace; 600 where absent."),
    "input_tokens": Shared(float, "Mean input tokens of its requests."),
    "output_tokens": Shared(float, "Mean output tokens."),
    "input_variation": Shared(float, "Coefficient of variation of input tokens (lognormal); 0 where absent."),
    "output_variation": Shared(float, "Coefficient of variation of output tokens; 0 where absent."),
    "burstiness": Shared(float, "Coefficient of variation of the times between arrivals; 1 (Poisson) where absent."),
    "pattern": Shared(str, "Distribution of the times between arrivals: gamma (where absent), weibull."),
}


@takes(REPLICA, _LOAD | _DRAWN)
def simulate(
    *,
    requests: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one row a request there (Parquet).")] = None,
    series: Annotated[Path | None, typer.Option(metavar="FILE", help="Write queue and KV cache over time there (Parquet).")] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Serve a trace of requests on some replicas, iteration by iteration: percentiles, goodput, energy, cost."""
    choice("--format", output_format, ("table", "json"))
    for path in (requests, series):
        _check_folder(path)
    from accelmodel.studies import points
    from accelmodel.studies.simulate import simulate as serve

    library = open_catalog(catalog)
    replica = points.replica(**given(options, REPLICA), catalog=library)
    load = given(options, _LOAD)
    trace = _read(load.pop("trace"), options) if "trace" in load else _drawn(options)
    tell_of_compilation(quiet=quiet)
    shown = None if quiet or not sys.stderr.isatty() else functools.partial(_progress, time.monotonic())
    found = serve(replica, trace, **load, **given(options, MONEY), catalog=library, progress=shown)
    _write(found.requests, requests)
    _write(found.series, series)
    values = found.summary.to_dict()
    if output_format == "json":
        import accelmodel

        document = {"schema": "accelmodel.simulation/1", "version": accelmodel.__version__, "catalog_sha256": library.sha256, "trace": trace.name}
        emit_json(document | values)
        return
    from accelmodel.columns import column

    width = max(map(len, values))
    console = results()
    for name, value in values.items():
        unit = column(name).unit
        text = "-" if value is None else value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
        console.print(f"{name:<{width}}  {text:>14}  {'' if unit == '1' else unit}".rstrip())


_PACED = ("requests_per_s", "burstiness", "pattern")


def _read(path: str, options: dict[str, Any]) -> Any:
    """A trace as it is, or its requests at another pace."""
    from accelmodel.studies.traces import Trace

    drawn = given(options, _DRAWN)
    for key, value in drawn.items():
        if key not in _PACED or "requests_per_s" not in drawn:
            raise InputError("a trace has its own requests; requests_per_s alone gives it other arrivals", key=key, value=value)
    return Trace.paced(path, **drawn, seed=options["seed"] or 0) if drawn else Trace.read(path)


def _drawn(options: dict[str, Any]) -> Any:
    from accelmodel.studies.traces import Client, Trace

    drawn = given(options, _DRAWN)
    for key in ("requests_per_s", "input_tokens", "output_tokens"):
        if key not in drawn:
            raise InputError("is missing: give a trace, or requests_per_s, input_tokens and output_tokens of one to draw", key="trace" if not drawn else key)
    duration_s = drawn.pop("duration_s", 600.0)
    return Trace.generate(Client(**drawn), duration_s=duration_s, seed=options["seed"] or 0)


def _progress(begun_s: float, sent: int, whole: int) -> None:
    rate = sent / max(time.monotonic() - begun_s, 1e-9)
    left = "\n" if sent == whole else f", {(whole - sent) / rate:,.0f} s left"
    print(f"\r{sent:,} of {whole:,} requests, {rate:,.0f} a second{left}", end="\x1b[K", file=sys.stderr, flush=True)


def _check_folder(path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise InputError("there is no such folder", file=path, key="output")


def _write(table: Any, path: Path | None) -> None:
    if path is not None:
        from accelmodel.results.store import write_parquet

        write_parquet(path, table)
        tell(f"wrote {path}")
