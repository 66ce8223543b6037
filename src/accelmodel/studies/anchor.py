"""Anchoring: a few measurements of one's own correct a replica and narrow what the engine believes of it.

The ratio of measured to predicted, as a geometric mean over the rows, is taken up by the parameters themselves, so that everything that follows from them
(throughput, cost, the simulator) is corrected alike: a factor a on time per output token divides every efficiency and multiplies every overhead of a step by
a, which makes a step exactly a times as long; a factor b on time to first token falls on the prefill's latency, on the overheads before it and on the share
of waiting.

What stays uncertain is the scatter of other loads about that ratio. The calibration says how far rows of one replica scatter, and how much that differs
between replicas; the scatter of one's own rows is weighed against it. With n rows of sample variance s^2, and `within` w worth m rows,

    variance = (m w^2 + (n - 1) s^2) / (m + n - 1)       half-width = t(m + n - 1) sqrt(variance (1 + 1 / n))

with Student's t at 95 %: the central 90 % of another row's logarithm. It narrows with rows that agree, and widens with rows that do not.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from accelmodel.catalog.calibrations import Anchoring, Calibration, Spread, moved
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
_NORMAL = 1.645  # of a normal distribution, deviations to the end of its central 90 %
_WIDEST = 10.0
_UPPER = 0.95  # quantile of the upper end of a central 90 %


def anchor(replica: Replica, measured: str | Path | pd.DataFrame) -> Replica:
    """A replica corrected by measurements of itself: rows of `isl, osl, concurrency, metric, value` (Parquet, CSV or a data frame).

    Rows of other metrics (tails, power) are passed over; InputError where none can be used, or where a load does not fit. Latencies in ms, throughput in
    tokens or requests per second of the replica.
    """
    rows = _rows(measured)
    scale: dict[str, float] = {}
    corrected = replica
    for _ in range(_ROUNDS):
        logs = _logs(corrected, rows)
        ratios = {matter: math.exp(sum(values) / len(values)) for matter, values in logs.items()}
        token = ratios.get("token", ratios.get("rate", 1.0))
        first = ratios.get("first", token)
        _take_up(scale, token, first)
        corrected = replace(replica, calibration=_scaled(replica.calibration, scale, logs))
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


def _logs(replica: Replica, rows: pd.DataFrame) -> dict[str, list[float]]:
    """Logarithms of measured over predicted seconds by matter: first tokens, tokens, and rates (turned round, so that slow is above 0)."""
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
    return logs


def _take_up(scale: dict[str, float], token: float, first: float) -> None:
    """Put factors on the seconds of tokens and of first tokens onto the parameters."""
    for name, power in _RATES.items():
        scale[name] = scale.get(name, 1.0) * token**power
    for name in _FIRST:
        scale[name] = scale.get(name, 1.0) * (first if name == "first_token_overhead" else first / token)


def _scaled(calibration: Calibration, scale: dict[str, float], logs: Mapping[str, Sequence[float]]) -> Calibration:
    """A calibration with factors on its parameters, its spreads those that the measurements leave."""
    steps = (*logs.get("token", ()), *logs.get("rate", ()))
    told = {"time_per_output_token": steps, "time_to_first_token": tuple(logs.get("first", ())), "throughput": steps}
    shares = {name: _share(calibration, name, found) for name, found in told.items()}
    spreads = {key: Spread(**{name: _powered(figure, shares[name]) for name, figure in spread}) for key, spread in calibration.spreads.items()}
    return calibration.model_copy(update={"scale": dict(scale), "spreads": spreads, "load_spreads": {}})


def _share(calibration: Calibration, name: str, logs: Sequence[float]) -> float:
    """What is left of the logarithm of a spread after so many rows: at most all of it, unless the rows scatter further than that themselves."""
    scatter, seen = calibration.anchoring.get(name), calibration.spreads.get("seen")  # type: ignore[call-overload]
    if not logs or scatter is None or seen is None:
        return 1.0
    before, own = math.log(getattr(seen, name).si), statistics.stdev(logs) if len(logs) > 1 else 0.0
    return min(half_width(scatter, own, len(logs)), max(before, _NORMAL * own)) / before


def half_width(scatter: Anchoring, own: float, count: int) -> float:
    """Half of the central 90 % of another row's logarithm, after so many rows whose own standard deviation is `own`."""
    from scipy.stats import t

    freedom = scatter.rows.si + count - 1
    variance = (scatter.rows.si * scatter.within.si**2 + (count - 1) * own**2) / freedom
    return float(t.ppf(_UPPER, freedom)) * math.sqrt(variance * (1.0 + 1.0 / count))


def _powered(figure: Figure, share: float) -> Figure:
    """A spread whose logarithm is multiplied, within what a spread may be."""
    low, high = (None if bound is None else min(bound**share, _WIDEST) for bound in (figure.low, figure.high))
    return moved(figure, min(figure.value**share, _WIDEST), low, high, source=figure.source)
