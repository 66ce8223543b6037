"""How well anybody could do: what the published labels of measurements leave open, shown by the measurements themselves.

Three views, none of which needs a model of the hardware. Rows that agree in every label that is published, yet not in value, bound from below what any
predictor of these labels can reach. An oracle that knows what is constant in a sweep, and no more, shows how much of the error is an offset that some
unpublished setting of the sweep causes, and how much is shape. And rows that publish a label beside rows that do not show where a label is missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from accelmodel.core.kernels import Array

# What a source publishes of a run; the rest of a row says where it was found and what was thought of it.
_RELEASE = "engine"
_CUT = ("num_accelerators", "tp", "pp", "ep", "dp", "moe_tp")
_POOLS = ("disagg_prefill_workers_tp_pp_adp_moetp_moeep", "disagg_decode_workers_tp_pp_adp_moetp_moeep")
LOAD = ("concurrency", "load_as_published")
LABELS = (
    *("model_name", "accelerator_name", _RELEASE, "precision_weights", "precision_kv", "scenario", "serving_mode", *_CUT, *_POOLS),
    *("isl", "osl", "metric", *LOAD),
)
MEDIAN_OF_NORMAL = 0.6745  # of the magnitude of a normal deviate, in deviations
_DISTINCT = 1e-3  # values closer than this are one measurement printed twice
_LEAST = 3  # rows of a sweep from which an offset is taken: the row itself is left out of it

# Labels that some sources publish and others do not, by the column that holds them.
_OPTIONAL = {
    "dtype of the KV cache": "precision_kv",
    "parallelism": "tp",
    "workers of the pools": "num_accelerators",
    "mean lengths": "isl",
    "engine's release": _RELEASE,
}
_FEW = 20  # rows on either side from which a label's absence is judged

# What an oracle knows the constant offset of, coarse to fine: columns by which rows belong together.
_PLACE = ("model_name", "accelerator_name")
_SWEEP = (*_PLACE, "engine", "precision_weights", "precision_kv", "load")
ORACLES: Mapping[str, tuple[str, ...]] = {
    "model and accelerator": _PLACE,
    "and engine's release, dtype": _SWEEP,
    "and parallelism": (*_SWEEP, *_CUT),
    "and lengths": (*_SWEEP, *_CUT, "isl", "osl"),
}


def errors_after_offset(rows: pd.DataFrame, by: Sequence[str]) -> Array:
    """|predicted / measured - 1| once each row's prediction is multiplied by the typical ratio of the *other* rows alike in `by`, (rows with such,)."""
    logs = np.log(rows["predicted"].to_numpy(dtype=float) / rows["value"].to_numpy(dtype=float))
    found: list[float] = []
    for places in _alike(rows, by).values():
        if len(places) >= _LEAST:
            own = logs[places]
            found += [abs(np.expm1(own[index] - np.median(np.delete(own, index)))) for index in range(len(own))]
    return np.array(found)


def errors_of_repeats(rows: pd.DataFrame, *, any_release: bool = False) -> Array:
    """|middle / measured - 1| of rows that share every published label with a row of another value, the middle being theirs; `any_release` of the engine."""
    labels = [name for name in LABELS if not (any_release and name == _RELEASE)]
    values = rows["value"].to_numpy(dtype=float)
    found: list[float] = []
    for places in _alike(rows, labels).values():
        distinct = _distinct(values[places])
        if len(distinct) > 1:
            middle = np.exp(np.median(np.log(distinct)))
            found += [abs(middle / value - 1.0) for value in distinct]
    return np.array(found)


def coverage_of_unseen(error: Array, variance: Array, groups: npt.NDArray[np.str_]) -> float:
    """Share of log errors within a width proportional to sqrt(s^2 + variance), s that of an ordinary row; its factor is what holds nine tenths of the
    rows of all other groups.
    """
    width = np.sqrt((np.median(error) / MEDIAN_OF_NORMAL) ** 2 + variance)
    names = np.unique(groups)
    inside = [error[groups == name] <= width[groups == name] * np.quantile((error / width)[groups != name], 0.9) for name in names if (groups != name).any()]
    return float(np.concatenate(inside).mean()) if inside else math.nan


def _alike(rows: pd.DataFrame, by: Sequence[str]) -> dict[Any, npt.NDArray[np.intp]]:
    """Places of rows that have something in common; a missing label is a label."""
    present = [name for name in by if name in rows]
    keys = rows[present].astype(object).where(rows[present].notna(), "").astype(str).agg("|".join, axis=1)
    return {str(key): np.asarray(places) for key, places in rows.reset_index(drop=True).groupby(keys.to_numpy()).indices.items()}


def _distinct(values: Array) -> Array:
    """Values without those that repeat another."""
    ordered: Array = np.sort(values)
    return np.asarray(ordered[np.concatenate([[True], np.diff(ordered) > _DISTINCT * ordered[:-1]])])


def errors_by_label(rows: pd.DataFrame) -> Iterator[tuple[str, Array, Array]]:
    """(label, |predicted / measured - 1| of rows that publish it, and of those that do not), of labels that some rows lack."""
    error = np.abs(rows["predicted"].to_numpy(dtype=float) / rows["value"].to_numpy(dtype=float) - 1.0)
    for label, column in _OPTIONAL.items():
        if column not in rows:
            continue
        known = rows[column].notna().to_numpy(dtype=bool)
        if column == _RELEASE:
            known = rows[column].astype(str).str.contains(r"\d").to_numpy(dtype=bool)
        if min(known.sum(), (~known).sum()) >= _FEW:
            yield label, error[known], error[~known]
