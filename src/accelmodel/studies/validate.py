"""Predictions beside published measurements, row by row, and how far they lie apart: by metric, accelerator, model and serving engine."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accelmodel.catalog.calibrations import Calibration, Measure
from accelmodel.catalog.library import Library
from accelmodel.core.fold import Constants
from accelmodel.core.kernels import Array
from accelmodel.core.replica import Replica
from accelmodel.serving.pieces import pieces, saturated_output_tokens_per_s, wave
from accelmodel.serving.pools import pools
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
from accelmodel.studies.measured import METRICS, Measurements, Run, measurements

_MS = 1e3
_LIMITS = ("ttft_limit_ms", "tpot_limit_ms")  # of 99th percentiles, in a report's rows
_BUSY = 64.0  # clients above which a loop's first tokens are harder to foresee
# Quantity -> which of the calibration's measures bounds it; throughput where not named.
MEASURE_OF: dict[str, Measure] = {
    "ttft_ms": "time_to_first_token",
    "tpot_ms": "time_per_output_token",
    "itl_ms": "time_per_output_token",
    "req_tok_s": "time_per_output_token",
    "e2e_ms": "request_latency",
    "power_w": "power",
    "energy_j": "energy",
}

Quantities = dict[str, Array]
ConstantsOf = Callable[[Replica], Constants]


def _own_constants(replica: Replica) -> Constants:
    return replica.constants


def _closed(runs: Sequence[Run], constants: Constants) -> Quantities:
    """What a closed loop measures; `itl_ms` is the step alone, which a mean batch reports."""
    isl, osl, users = _loads(runs)
    out = dict(zip(OUTPUTS, closed_loop(constants, Grid.of(isl, osl, users, np.zeros(1)), 1), strict=True))
    copies = np.array([run.copies for run in runs])
    return {
        "ttft_ms": out["time_to_first_token_s"] * _MS,
        "tpot_ms": out["time_per_output_token_s"] * _MS,
        "itl_ms": out["time_per_output_token_s"] * _MS,
        "e2e_ms": out["request_latency_s"] * _MS,
        "req_tok_s": 1.0 / out["time_per_output_token_s"],
        "power_w": out["power_w"] * copies,
        "energy_j": out["energy_j_per_output_token"],
        **_rates(out["output_tokens_per_s"] * copies, isl, osl),
    }


def _batch(runs: Sequence[Run], constants: Constants) -> Quantities:
    """A measured mean batch: it runs, whatever memory is thought to hold, and the middle step has no prefill in it."""
    isl, osl, users = _loads(runs)
    roomy = constants.copy()
    roomy["pool_bytes"] = 1e30
    step = pieces(roomy, isl, osl, users)
    return _closed(runs, roomy) | {"itl_ms": step.step_s / step.tokens_per_step * _MS}


def _saturated(runs: Sequence[Run], constants: Constants) -> Quantities:
    isl, osl, _ = _loads(runs)
    copies = np.array([run.copies for run in runs])
    one = pieces(constants, isl, osl, np.ones_like(osl))
    per_accelerator = isl / one.marginal_s / runs[0].replica.accelerators
    return {**_rates(saturated_output_tokens_per_s(constants, isl, osl) * copies, isl, osl), "prefill_tok_s_per_accelerator": per_accelerator}


def _wave(runs: Sequence[Run], constants: Constants) -> Quantities:
    isl, osl, users = _loads(runs)
    first, per_token = wave(constants, isl, osl, users)
    latency = first + (osl - 1.0) * per_token
    copies = np.array([run.copies for run in runs])
    rates = _rates(users * copies * osl / latency, isl, osl)
    token = {"tpot_ms": per_token * _MS, "itl_ms": per_token * _MS, "req_tok_s": 1.0 / per_token}
    return {"ttft_ms": first * _MS, "e2e_ms": latency * _MS, **token, **rates}


def _pools(runs: Sequence[Run], decode: Constants, prefill: Constants) -> Quantities:
    isl, osl, users = _loads(runs)
    found = pools(prefill, np.array([run.prefill_copies for run in runs]), decode, np.array([run.copies for run in runs]), isl, osl, users)
    token = found.time_per_output_token_s * _MS
    first = found.time_to_first_token_s * _MS
    return {"ttft_ms": first, "tpot_ms": token, "itl_ms": token, "e2e_ms": first + (osl - 1.0) * token, **_rates(found.output_tokens_per_s, isl, osl)}


_LOADS: dict[str, Callable[[Sequence[Run], Constants], Quantities]] = {"closed": _closed, "batch": _batch, "saturated": _saturated, "wave": _wave}


def _loads(runs: Sequence[Run]) -> tuple[Array, Array, Array]:
    return tuple(np.array([getattr(run, name) for run in runs]) for name in ("input_tokens", "output_tokens", "concurrency"))  # type: ignore[return-value]


def _rates(output_tok_s: Array, isl: Array, osl: Array) -> Quantities:
    return {"output_tok_s": output_tok_s, "total_tok_s": output_tok_s * (isl + osl) / osl, "req_s": output_tok_s / osl}


def quantities(runs: Sequence[Run], constants_of: ConstantsOf = _own_constants) -> dict[str, Array]:
    """Every quantity of every run, quantity -> (runs,) in the unit that measurements use; NaN where a run does not have it or does not fit.

    `constants_of` gives the folded constants of a replica: its own, or those under other parameters.
    """
    names = sorted(set(METRICS.values()))
    out = {name: np.full(len(runs), math.nan) for name in names}
    groups: dict[tuple[int, int, str], list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        groups[id(run.replica), id(run.prefill), run.load].append(number)
    for numbers in groups.values():
        chosen = [runs[number] for number in numbers]
        first = chosen[0]
        if first.prefill is not None:
            found = _pools(chosen, constants_of(first.replica), constants_of(first.prefill))
        else:
            found = _LOADS[first.load](chosen, constants_of(first.replica))
        for name, values in found.items():
            out[name][numbers] = values
    _take_the_best(runs, out, constants_of)
    return out


def _take_the_best(runs: Sequence[Run], out: dict[str, Array], constants_of: ConstantsOf) -> None:
    """Where a source does not say how a deployment is cut, the fastest way counts."""
    for number, run in enumerate(runs):
        for replica, copies in run.options:
            other = replace(run, replica=replica, copies=copies, options=())
            found = _LOADS[run.load]([other], constants_of(replica))
            if not found["output_tok_s"][0] <= out["output_tok_s"][number] and found["output_tok_s"][0] > 0:
                for name, values in found.items():
                    out[name][number] = values[0]


@dataclass(frozen=True)
class Report:
    """Rows of a file with what the engine predicts of them. `rows` has the file's columns and `predicted, predicted_low90, predicted_high90` (in the
    unit of the row's metric) and `skipped_reason`; `assumptions` is what was assumed where a source is silent.
    """

    rows: pd.DataFrame
    assumptions: tuple[str, ...]

    @property
    def predicted(self) -> pd.DataFrame:
        """The rows that are predicted."""
        return self.rows[self.rows["skipped_reason"].isna()]

    def summary(self) -> dict[str, Any]:
        """Counts and errors: `rows, predicted, skipped, by_metric, by_accelerator, by_model, by_engine`; `by_simulated_load` of what the simulator predicts."""
        done = self.predicted
        by = {
            "by_accelerator": _names(done, "accelerator_name"),
            "by_model": _names(done, "model_name"),
            "by_engine": _names(done, "engine_name"),
        }
        counts = Counter(self.rows["skipped_reason"].dropna())
        return {
            "rows": len(self.rows),
            "predicted": len(done),
            "skipped": dict(counts.most_common()),
            "by_metric": errors_by_metric(done),
            "by_simulated_load": self.by_simulated_load(),
            **{name: {level: errors_by_metric(done[levels == level]) for level in sorted(set(levels))} for name, levels in by.items()},
        }

    def by_simulated_load(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """Errors of what the simulator predicts: kind of load -> metric -> errors."""
        done = self.predicted
        done = done[done["simulated"]]
        return {load: errors_by_metric(done[done["load"] == load]) for load in sorted(set(done["load"]))}

    def to_pandas(self) -> pd.DataFrame:
        """The rows as `--predictions` writes them."""
        return self.rows.drop(columns=["accelerator_name", "model_name", "engine_name", "load", "run", "simulated", *_LIMITS])

    def save(self, path: str | Path) -> None:
        """Write the rows to a Parquet file, or CSV by its suffix; under another name until it is whole."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        if target.suffix.casefold() == ".csv":
            self.to_pandas().to_csv(part, index=False)
        else:
            self.to_pandas().to_parquet(part, index=False)
        part.replace(target)


def _names(rows: pd.DataFrame, column: str) -> Any:
    return rows[column].to_numpy()


def errors(measured: Array, predicted: Array, low: Array, high: Array) -> dict[str, float | int | None]:
    """Errors of some rows, as fractions: `n, median_ape, mape, p90_ape, bias` (median signed error) and `coverage_90`, the share of measured values
    within their interval (None where no row has one).
    """
    signed = predicted / measured - 1.0
    absolute = np.abs(signed)
    known = np.isfinite(low) & np.isfinite(high)
    inside = (measured >= low) & (measured <= high)
    return {
        "n": len(measured),
        "median_ape": float(np.median(absolute)),
        "mape": float(absolute.mean()),
        "p90_ape": float(np.quantile(absolute, 0.9)),
        "bias": float(np.median(signed)),
        "coverage_90": float(inside[known].mean()) if known.any() else None,
    }


def errors_by_metric(rows: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Metric -> errors of the rows of that metric."""
    columns = ("value", "predicted", "predicted_low90", "predicted_high90")
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby("metric", sort=True)
    return {str(metric): errors(*(group[name].to_numpy(dtype=float) for name in columns)) for metric, group in groups}


def validate(measured: str | Path | pd.DataFrame, *, catalog: Library | None = None) -> Report:
    """Predict every row of a file of measurements, and say why where a row is left out. InputError where the file cannot be read."""
    from accelmodel.studies.simulated import simulated

    found = measurements(measured, catalog)
    return report(found, quantities(found.runs), tails=simulated(found))


def report(
    found: Measurements,
    values: Mapping[str, Array],
    calibrations: Mapping[str, Calibration] | None = None,
    tails: Mapping[int, float | str] | None = None,
) -> Report:
    """Measurements beside the quantities of their runs; `calibrations` bound predictions in place of those of the runs, by the name of these. `tails` are the
    values of rows that only the simulator answers, or the reasons why it does not, by row; without them these rows are left out.
    """
    rows = found.rows.copy()
    predicted, low, high = (np.full(len(rows), math.nan) for _ in range(3))
    reasons: list[str | None] = list(found.reasons)
    metrics = rows["metric"].astype(str).tolist()
    for number, tail in (tails or {}).items():
        reasons[number] = tail if isinstance(tail, str) else None
        if not isinstance(tail, str):
            one = found.simulations[number]
            predicted[number] = tail
            low[number], high[number] = interval(one, re.sub(r"_ms_\w+$", "_ms", metrics[number]), tail, one.replica.calibration)
    for number, (run, metric) in enumerate(zip(found.run_of, metrics, strict=True)):
        if run < 0:
            continue
        value = float(values[METRICS[metric]][run])
        if not math.isfinite(value):
            reasons[number] = _why_none(found.runs[run], METRICS[metric], values, run)
            continue
        predicted[number] = value
        own = found.runs[run].replica.calibration
        low[number], high[number] = interval(found.runs[run], METRICS[metric], value, (calibrations or {}).get(own.name, own))
    rows["predicted"], rows["predicted_low90"], rows["predicted_high90"] = predicted, low, high
    rows["skipped_reason"] = pd.Series(reasons, index=rows.index, dtype="object")
    known = [found.runs[run] if run >= 0 else found.simulations.get(number) for number, run in enumerate(found.run_of)]
    rows["accelerator_name"] = [run.replica.accelerator.name if run else None for run in known]
    rows["model_name"] = [run.replica.model.name if run else None for run in known]
    rows["engine_name"] = [run.replica.engine if run else None for run in known]
    rows["load"] = [load_class(run) if run else None for run in known]
    rows["run"] = list(found.run_of)
    rows["simulated"] = [number in (tails or {}) for number in range(len(rows))]
    for name in _LIMITS:
        rows[name] = [_MS * getattr(found.simulations[number], f"{name[:-3]}_s") if number in found.simulations else math.inf for number in range(len(rows))]
    return Report(rows, tuple(found.assumptions))


def _why_none(run: Run, quantity: str, values: Mapping[str, Array], number: int) -> str:
    """Why a run has no such quantity."""
    if all(not math.isfinite(column[number]) for column in values.values()):
        return "does not fit in memory as it is modelled"
    return f"{quantity} is not modelled under a load of kind '{run.load}'"


def interval(run: Run, quantity: str, value: float, calibration: Calibration) -> tuple[float, float]:
    """The central 90 % of a predicted quantity; NaN where the calibration has no spread."""
    replica = run.replica
    measure = MEASURE_OF.get(quantity, "throughput")
    factor = calibration.load_spread(load_class(run), measure, replica.accelerator.generation, replica.has_experts)
    return (math.nan, math.nan) if factor is None else (value / factor, value * factor)


def load_class(run: Run) -> str:
    """The kind of load by which spreads are told apart: a busy loop is one of its own, and so are pools of unknown size."""
    if run.load == "closed" and run.concurrency * run.copies > _BUSY:
        return "closed-busy"
    return "pools-unknown" if run.load == "pools" and not run.prefill_copies else run.load
