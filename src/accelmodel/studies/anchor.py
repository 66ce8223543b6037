"""Anchoring: a few measurements of one's own correct a replica and narrow what the engine believes of it.

The ratio of measured to predicted, as a geometric mean over the rows, is taken up by the parameters themselves, so that everything that follows from them
(throughput, cost, the simulator) is corrected alike: a factor a on time per output token divides every efficiency and multiplies every overhead of a step by
a, which makes a step exactly a times as long; a factor b on time to first token falls on the prefill's latency, on the overheads before it and on the share
of waiting.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pandas as pd

from accelmodel.catalog.calibrations import Calibration, Spread, moved
from accelmodel.catalog.figures import Figure
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
from accelmodel.studies.measured import METRICS, read

_NEEDED = ("isl", "osl", "concurrency")
_RATES = {
    "weight_bandwidth_efficiency": -1.0,
    "kv_bandwidth_efficiency": -1.0,
    "compute_efficiency_bf16": -1.0,
    "compute_efficiency_fp8": -1.0,
    "compute_efficiency_fp4": -1.0,
    "compute_efficiency_int8": -1.0,
    "attention_compute_efficiency": -1.0,
    "link_efficiency": -1.0,
    "layer_overhead": 1.0,
    "moe_layer_overhead": 1.0,
    "mla_layer_overhead": 1.0,
    "linear_layer_overhead": 1.0,
    "step_overhead": 1.0,
    "sequence_overhead": 1.0,
    "scale_out_latency": 1.0,
    "prefill_layer_overhead": 1.0,
}
_FIRST = ("prefill_latency_factor", "first_token_overhead", "prefill_layer_overhead", "first_step_wait_steps", "burst_fraction")
_QUANTITIES = {"ttft_ms": "first", "tpot_ms": "token", "itl_ms": "token", "output_tok_s": "rate", "total_tok_s": "rate", "req_s": "rate"}
_ROUNDS = 40
# What remains of the logarithm of an interval's half-width after one row, and what no number of rows takes away: on left-out groups the median error of
# time per output token falls from 13 to 8.6 % with one row of the sweep and to 7.3 % with three; of first tokens from 26.5 to 22.6 and 20.9 %; of saturated
# throughput from 14.9 to 10.1 and 8.1 %.
_NARROWED = {"time_per_output_token": (0.66, 0.56), "time_to_first_token": (0.85, 0.79), "throughput": (0.68, 0.54)}


def anchor(replica: Replica, measured: str | Path | pd.DataFrame) -> Replica:
    """A replica corrected by measurements of itself: rows of `isl, osl, concurrency, metric, value` (Parquet, CSV or a data frame).

    Rows of other metrics (tails, power) are passed over; InputError where none can be used, or where a load does not fit. Latencies in ms, throughput in
    tokens or requests per second of the replica.
    """
    rows = _rows(measured)
    ratios: dict[str, float] = {}
    scale: dict[str, float] = {}
    corrected = replica
    for _ in range(_ROUNDS):
        ratios = _ratios(corrected, rows)
        token = ratios.get("token", ratios.get("rate", 1.0))
        first = ratios.get("first", token)
        _take_up(scale, token, first)
        corrected = replace(replica, calibration=_scaled(replica.calibration, scale, rows))
        if max(abs(math.log(token)), abs(math.log(first))) < 1e-6:
            break
    return corrected


def _rows(measured: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The usable rows, checked."""
    table = read(measured, ("metric", "value", *_NEEDED))
    file = "the data frame" if isinstance(measured, pd.DataFrame) else measured
    kept = table[table["metric"].astype(str).map(lambda name: METRICS.get(name) in _QUANTITIES)].dropna(subset=list(_NEEDED))
    if kept.empty:
        raise InputError("has no row with isl, osl, concurrency and a mean or median latency or throughput", file=file, key="metric")
    for column in (*_NEEDED, "value"):
        if not (pd.to_numeric(kept[column], errors="coerce") > 0).all():
            raise InputError("must be above 0", file=file, key=column)
    return kept


def _ratios(replica: Replica, rows: pd.DataFrame) -> dict[str, float]:
    """Geometric mean of measured over predicted seconds by matter: first tokens, tokens, and rates (turned round, so that slow is above 1)."""
    loads = (rows[column].to_numpy(dtype=float) for column in _NEEDED)
    isl, osl, users = loads
    out = dict(zip(OUTPUTS, closed_loop(replica.constants, Grid.of(isl, osl, users, 0.0 * isl), 1), strict=True))
    logs: dict[str, list[float]] = defaultdict(list)
    for number, (metric, value) in enumerate(zip(rows["metric"], rows["value"].astype(float), strict=True)):
        quantity = METRICS[str(metric)]
        matter = _QUANTITIES[quantity]
        rate = out["output_tokens_per_s"][number]
        predicted = {
            "ttft_ms": out["time_to_first_token_s"][number] * 1e3,
            "tpot_ms": out["time_per_output_token_s"][number] * 1e3,
            "itl_ms": out["time_per_output_token_s"][number] * 1e3,
            "output_tok_s": rate,
            "total_tok_s": rate * (1.0 + isl[number] / osl[number]),
            "req_s": rate / osl[number],
        }[quantity]
        if not predicted > 0:
            raise InputError("the replica does not fit a load that was measured", key="concurrency", value=float(users[number]))
        logs[matter].append(math.log(predicted / value) if matter == "rate" else math.log(value / predicted))
    return {matter: math.exp(sum(values) / len(values)) for matter, values in logs.items()}


def _take_up(scale: dict[str, float], token: float, first: float) -> None:
    """Put factors on the seconds of tokens and of first tokens onto the parameters."""
    for name, power in _RATES.items():
        scale[name] = scale.get(name, 1.0) * token**power
    for name in _FIRST:
        scale[name] = scale.get(name, 1.0) * (first if name == "first_token_overhead" else first / token)


def _scaled(calibration: Calibration, scale: dict[str, float], rows: pd.DataFrame) -> Calibration:
    """A calibration with factors on its parameters, its spreads narrowed by what was measured."""
    matters = [_QUANTITIES[METRICS[str(metric)]] for metric in rows["metric"]]
    counts = {
        "time_per_output_token": matters.count("token") + matters.count("rate"),
        "time_to_first_token": matters.count("first"),
        "throughput": matters.count("token") + matters.count("rate"),
    }
    spreads = {key: Spread(**{name: _narrowed(figure, name, counts[name]) for name, figure in spread}) for key, spread in calibration.spreads.items()}
    return calibration.model_copy(update={"scale": dict(scale), "spreads": spreads, "load_spreads": {}})


def _narrowed(figure: Figure, name: str, count: int) -> Figure:
    """A spread after so many rows."""
    if not count:
        return figure
    one, many = _NARROWED[name]
    share = many + (one - many) / count
    low, high = (None if bound is None else bound**share for bound in (figure.low, figure.high))
    return moved(figure, figure.value**share, low, high, source=figure.source)
