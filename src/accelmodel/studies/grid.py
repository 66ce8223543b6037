"""The points study: every case at every value of the axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.results.table import constant, table
from accelmodel.studies.percentiles import Draw
from accelmodel.studies.points import check_columns, percentile_names
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import LOAD_KEYS, Points

_SHOWN = (
    *("case", "system", "accelerators", "concurrency", "time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s_per_accelerator"),
    *("binding", "cost_usd_per_mtok", "margin_fraction"),
)


def study(context: Context, asked: Points) -> StudyResult:
    """Evaluate the grid; loads that differ only in numbers run through the kernel as one array."""
    wanted = check_columns(asked.columns or None)
    ranked = percentile_names(wanted)
    draw = Draw(asked.burstiness, asked.input_variation, asked.output_variation, context.seed)
    tables: list[pa.Table] = []
    notes: list[str] = []
    for cell, loads in parts(context, asked):
        columns = context.points(cell, loads)
        found = table({**labels(cell, len(loads)), **columns, **context.percentiles(cell, loads, ranked, draw)})
        misfits = len(loads) - int(columns["fits"].true_count)
        if misfits:
            notes.append(misfit(cell, misfits, len(loads), bool(columns["concurrency"].null_count)))
        if late := _late(cell, columns):
            notes.append(late)
        tables.append(found)
    if not tables:
        raise InputError("leaves no point of this study", key="exclude", value=" or ".join(context.scenario.exclude))
    if ranked and draw.in_step and any(context.is_loop(cell, loads) for cell, loads in parts(context, asked)):
        notes.append(draw.in_step)
    whole = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    summary = _summary(whole)
    if wanted:
        missing = [name for name in wanted if name not in whole.column_names]
        if missing:
            raise InputError(f"no point has the column '{missing[0]}'", key="columns", value=missing[0], allowed=whole.column_names)
        whole = whole.select([name for name in dict.fromkeys(("case", *context.scenario.axis_keys, *wanted)) if name in whole.column_names])
    shown = [name for name in (*context.scenario.axis_keys, *(wanted or _SHOWN)) if name in whole.column_names]
    return StudyResult("points", whole, summary, notes, list(dict.fromkeys(shown)))


def parts(context: Context, asked: Points) -> Iterator[tuple[Cell, list[dict[str, Any]]]]:
    """The table's rows in their order: a replica on its money terms, and the loads that it runs."""
    for case in context.scenario.chosen(asked.cases):
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for values in context.scenario.grid(case, asked.axes):
            groups.setdefault(tuple((key, value) for key, value in values.items() if key not in LOAD_KEYS), []).append(values)
        for fixed, loads in groups.items():
            cell = context.cell(case, {**_without_replaced(context.scenario.situation(case), loads[0]), **dict(fixed)})
            yield cell, [{key: one[key] for key in LOAD_KEYS if key in one} for one in loads]


def _late(cell: Cell, columns: Mapping[str, Any]) -> str | None:
    """How many points miss latency targets that are given beside a load; None where none does, or the load was solved for them."""
    targets = {"ttft_s": "time_to_first_token_s", "tpot_s": "time_per_output_token_s"}
    asked = {key: name for key, name in targets.items() if key in cell.situation}
    missed = sum(np.greater(columns[name].to_numpy(zero_copy_only=False), cell.situation[key] * (1 + 1e-9)) for key, name in asked.items())
    count = int(np.count_nonzero(missed)) if asked else 0
    words = ", ".join(f"{key} {cell.situation[key]:g}" for key in asked)
    return f"{cell.case or cell.replica.system.name}: {count} of {np.size(missed)} points run beyond their latency targets ({words})" if count else None


def _without_replaced(situation: dict[str, Any], axes: dict[str, Any]) -> dict[str, Any]:
    """The situation without the load that an axis replaces by another kind of load."""
    replaced = {"concurrency", "requests_per_s"} if {"concurrency", "requests_per_s"} & axes.keys() else set()
    return {key: value for key, value in situation.items() if key not in replaced}


def labels(cell: Cell, rows: int) -> dict[str, Any]:
    """Columns that say which case and which replica a row is about."""
    return {"case": constant(cell.case or cell.replica.system.name, rows)} | replica_labels(cell.replica, rows)


def most_weights(of: Replica) -> str:
    """Dtype of most of a replica's weights: of the experts where there are some."""
    return of.weight_dtype("expert" if "moe" in of.model.architecture.kind_counts else "ffn")


def replica_labels(of: Replica, rows: int) -> dict[str, Any]:
    """Columns that say which replica a row is about."""
    text = {
        "model": of.model.name,
        "system": of.system.name,
        "accelerator": of.accelerator.name,
        "engine": of.engine,
        "mode": of.serving.mode,
        "weights": most_weights(of),
        "kv": of.kv_dtype,
    }
    numbers = {"accelerators": of.accelerators, "tensor_parallel": of.parallelism.tensor, "expert_parallel": of.parallelism.expert}
    numbers |= {
        "attention_data_parallel": of.parallelism.attention_data,
        "pipeline_parallel": of.parallelism.pipeline,
        "context_parallel": of.parallelism.context,
    }
    return {name: constant(value, rows) for name, value in text.items()} | {name: np.full(rows, value) for name, value in numbers.items()}


def misfit(cell: Cell, missing: int, points: int, has_room: bool) -> str:
    """Why points cannot run: no concurrency meets their targets or carries their rate, or memory does not hold them, in bytes."""
    of, gb = cell.replica, 1e9
    memory, ranks = of.memory, of.accelerators * of.accelerator.ranks
    name = cell.case or of.system.name
    if has_room and memory.pool_bytes > 0:
        return f"{name}: {missing} of {points} points cannot meet their rate or latency targets at any concurrency"
    return (
        f"{name}: {missing} of {points} points do not fit: weights {memory.weight_bytes * ranks / gb:,.0f} GB; {of.accelerators} accelerators hold "
        f"{memory.usable_bytes * ranks / gb:,.0f} GB less {memory.reserve_bytes * ranks / gb:,.0f} GB for the runtime"
    )


def _summary(whole: pa.Table) -> dict[str, Any]:
    """The cheapest, fastest and most profitable point of each model, and every case's best cost against that of the model's first case."""
    rows = whole.to_pylist()
    found: dict[str, Any] = {"points": len(rows), "fitting": sum(row["fits"] for row in rows), "models": {}}
    for model in dict.fromkeys(row["model"] for row in rows):
        found["models"][model] = _best([row for row in rows if row["model"] == model and row["fits"]])
    return found


def _best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The best of some points by cost, speed and margin."""
    found: dict[str, Any] = {}
    for label, column, pick in (
        ("cheapest", "cost_usd_per_mtok", min),
        ("fastest", "time_per_output_token_s", min),
        ("best_margin", "margin_fraction", max),
    ):
        present = [row for row in rows if row.get(column) is not None]
        if present:
            best = pick(present, key=lambda row: row[column])
            found[label] = {"case": best["case"], column: best[column], "concurrency": best["concurrency"]}
    lowest: dict[str, float] = {}
    for row in rows:
        lowest[row["case"]] = min(lowest.get(row["case"], np.inf), row["cost_usd_per_mtok"])
    if len(lowest) > 1:
        first = next(iter(lowest.values()))
        found["lowest_cost_over_first_case"] = {case: cost / first for case, cost in lowest.items()}
    return found
