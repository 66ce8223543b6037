"""Published measurements along a frontier: for a user's speed, what each accelerator yields, and what its tokens would cost at a run's hourly cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelmodel.catalog.library import Library
from accelmodel.studies.grid import replica_labels
from accelmodel.studies.measured import METRICS, measurements
from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

# What tells runs apart; a run's metrics may differ in remarks.
_TOLD_APART = (
    *("source", "engine", "model", "accelerator", "num_accelerators", "tp", "pp", "ep", "dp", "moe_tp", "precision_weights", "precision_kv"),
    *("isl", "osl", "load_as_published", "concurrency", "scenario", "serving_mode"),
)
_REGION = ("model", "accelerator", "weights")
_WITHIN = 1.5  # lengths of requests within this factor of the run's are of its region


@dataclass(frozen=True)
class Measured:
    """One measured run in the region of a case: its place on the frontier."""

    case: str
    source: str
    engine: str
    accelerators: float
    input_tokens: float
    output_tokens: float
    output_tokens_per_s_per_user: float
    output_tokens_per_s_per_accelerator: float
    cost_usd_per_mtok: float | None


def measured_frontier(path: Path | str, rows: Sequence[Mapping[str, Any]], library: Library | None = None) -> list[Measured]:
    """Runs of a file of measurements (as `validate` reads it) on the models and accelerators of a points study's rows, with weights of their dtype and
    requests as long as theirs within a factor of 1.5; those that publish both time per output token and output tokens a second. InputError where the file
    cannot be read.
    """
    found = measurements(path, library or Library())
    values: dict[tuple[Any, ...], dict[str, float]] = {}
    first: dict[tuple[Any, ...], tuple[Any, Mapping[str, Any]]] = {}
    for row, run in zip(found.rows.to_dict("records"), found.run_of, strict=True):
        quantity = METRICS.get(str(row["metric"]))
        if run >= 0 and quantity in ("tpot_ms", "itl_ms", "output_tok_s"):
            key = tuple(str(row.get(name)) for name in _TOLD_APART)
            values.setdefault(key, {}).setdefault(quantity, float(row["value"]))
            first.setdefault(key, (found.runs[run], {str(name): value for name, value in row.items()}))
    whole = [key for key, of in values.items() if "output_tok_s" in of and {"tpot_ms", "itl_ms"} & of.keys()]
    return [one for key in whole for one in _placed(first[key][0], values[key], first[key][1], rows)]


def _placed(run: Any, values: Mapping[str, float], row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[Measured]:
    accelerators = float(row["num_accelerators"])
    speed = 1e3 / values.get("tpot_ms", values.get("itl_ms", 0.0))
    each = values["output_tok_s"] / accelerators
    labels = replica_labels(run.replica, 1)
    for case, some in _cases(rows).items():
        like = min(some, key=lambda one: one["cost_usd_per_mtok"] if one.get("cost_usd_per_mtok") is not None else float("inf"))
        if any(labels[name][0].as_py() != like.get(name) for name in _REGION):
            continue
        lengths = ((run.input_tokens, like["input_tokens"]), (run.output_tokens, like["output_tokens"]))
        if all(1 / _WITHIN <= measured / asked <= _WITHIN for measured, asked in lengths):
            cost = _cost(like, each, run.input_tokens / run.output_tokens)
            engine = str(row.get("engine") or "")
            yield Measured(case, str(row.get("source") or ""), engine, accelerators, run.input_tokens, run.output_tokens, speed, each, cost)


def _cases(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("fits", True):
            found.setdefault(str(row["case"]), []).append(row)
    return found


def _cost(like: Mapping[str, Any], output_tokens_per_s: float, input_per_output: float) -> float | None:
    """USD per million tokens, input and output, at the hourly cost and the occupancy of the case's cheapest point."""
    if like.get("replica_cost_usd_per_h") is None or like.get("occupancy") is None:
        return None
    mtok_per_h = output_tokens_per_s * (1.0 + input_per_output) * SECONDS_PER_HOUR / TOKENS_PER_MTOK * like["occupancy"]
    return float(like["replica_cost_usd_per_h"] / like["accelerators"] / mtok_per_h)
