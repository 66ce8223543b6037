"""Fit the step model's parameters to published measurements, with the engine's own kernels, and judge the fit on groups left out whole.

A parameter of a replica is base x serving engine's factor x accelerator generation's factor; each is exp(prior + deviation), and a deviation is shrunk to 0
by a Gaussian prior. What is minimised is, over rows with weight w (the group's size to the power -0.4) and log residual r of standard deviation s,

    sum w 4 (sqrt(1 + (r / s)^2 / 2) - 1)  +  sum (deviation / prior's)^2           pseudo-Huber loss, Gaussian shrinkage

where r also has an offset of its sweep (model x accelerator x engine's version x dtype) that predictions never use: what a sweep hides (settings that its
source does not print) must not bend the physics. Levenberg-Marquardt; derivatives by one run of the engine per parameter, shared out to the levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from accelmodel.catalog.calibrations import Calibration, Parameters
from accelmodel.core.fold import Constants, fold
from accelmodel.core.kernels import Array
from accelmodel.core.replica import Replica
from accelmodel.studies.measured import METRICS, Measurements, Run
from accelmodel.studies.validate import quantities

Progress = Callable[[str], None]

# Standard deviation of a log residual that counts as ordinary, and of a sweep's own offset, by quantity.
_NOISE = {"tpot_ms": 0.10, "itl_ms": 0.10, "ttft_ms": 0.25, "output_tok_s": 0.15, "e2e_ms": 0.15}
_SWEEP = {"tpot_ms": 0.15, "itl_ms": 0.15, "ttft_ms": 0.25, "output_tok_s": 0.15, "e2e_ms": 0.15}
_GROUP_POWER = -0.4
_ERA = 0.15  # prior deviation of a version's saturated throughput

# Parameters that may differ between generations of accelerators and between serving engines, with the prior's deviation of each factor.
_BY_GENERATION = {
    "weight_bandwidth_efficiency": 0.08,
    "kv_bandwidth_efficiency": 0.10,
    "compute_efficiency_bf16": 0.15,
    "compute_efficiency_fp8": 0.15,
    "compute_efficiency_fp4": 0.15,
    "link_efficiency": 0.20,
    "layer_overhead": 0.25,
    "moe_layer_overhead": 0.25,
}
_BY_ENGINE = {
    "first_token_overhead": 0.40,
    "prefill_layer_overhead": 0.40,
    "burst_fraction": 0.40,
    "prefill_latency_factor": 0.15,
    "sequence_overhead": 0.30,
    "layer_overhead": 0.12,
    "moe_layer_overhead": 0.20,
}
# Left at their priors: what measurements do not identify.
_FIXED = ("chunk_tokens", "usable_memory_fraction", "runtime_reserve", "graph_reserve", "link_overlap_fraction", "scale_out_latency", "serial_prefill")
_RANGE_IN_DEVIATIONS = 2 * 1.645  # a figure's range is the central 90 % of its prior

_STEP = 1e-3
_ITERATIONS = 8


@dataclass(frozen=True)
class Row:
    """A row that takes part: its run, its quantity, the logarithm of what was measured, its group and sweep."""

    number: int
    run: int
    quantity: str
    log_value: float
    group: str
    sweep: str


@dataclass(frozen=True)
class Slot:
    """One deviation: of a parameter, for all replicas or for those of one engine or generation (`level`), with its prior's standard deviation."""

    parameter: str
    kind: str  # base, engine, generation, era
    level: str
    deviation: float


@dataclass(frozen=True)
class Fit:
    """A calibration's fit: deviations of the slots, their covariance, and log predictions of the rows."""

    slots: tuple[Slot, ...]
    values: Array
    covariance: Array
    log_predicted: Array
    cost: float


class Problem:
    """Rows of one calibration's stacks, and the engine as a function of the deviations."""

    def __init__(self, found: Measurements, calibration: Calibration, rows: Sequence[Row], progress: Progress) -> None:
        self.calibration = calibration
        self.progress = progress
        self.rows = tuple(rows)
        used = sorted({row.run for row in rows})
        self.runs = [found.runs[number] for number in used]
        place = {number: index for index, number in enumerate(used)}
        self.run_of = np.array([place[row.run] for row in rows])
        self.quantity = np.array([row.quantity for row in rows])
        self.measured = np.array([row.log_value for row in rows])
        self.noise = np.array([_NOISE[row.quantity] for row in rows])
        groups = [row.group for row in rows]
        counts = pd.Series(groups).map(pd.Series(groups).value_counts()).to_numpy(dtype=float)
        weights = counts**_GROUP_POWER
        self.weights = weights / weights.mean() * 0.35
        self.groups = np.array(groups)
        self.sweeps = np.unique([row.sweep for row in rows], return_inverse=True)[1]
        self.sweep_deviation = np.array([_SWEEP[row.quantity] for row in rows])
        self.engine = np.array([found.runs[row.run].replica.engine for row in rows])
        self.generation = np.array([found.runs[row.run].replica.accelerator.generation for row in rows])
        saturated = np.array([found.runs[row.run].load == "saturated" for row in rows])
        self.era = np.where(saturated, [found.runs[row.run].version for row in rows], "")
        self.slots = tuple(self._slots())
        self.masks = np.array([self._mask(slot) for slot in self.slots])

    def _slots(self) -> list[Slot]:
        slots = []
        for name in Parameters.model_fields:
            figure = getattr(self.calibration.parameters, name)
            if name in _FIXED or name.startswith("power_") or not figure.si_high > figure.si_low or figure.si <= 0.0:
                continue
            low = max(figure.si_low, figure.si / 3.0)
            slots.append(Slot(name, "base", "", math.log(figure.si_high / low) / _RANGE_IN_DEVIATIONS))
        free = {slot.parameter for slot in slots}
        for kind, table, levels in (("engine", _BY_ENGINE, self.engine), ("generation", _BY_GENERATION, self.generation)):
            present = sorted(set(levels.tolist()))
            if len(present) > 1:
                slots += [Slot(name, kind, level, deviation) for name, deviation in table.items() if name in free for level in present]
        slots += [Slot("", "era", era, _ERA) for era in sorted(set(self.era.tolist()) - {""})]
        return slots

    def _mask(self, slot: Slot) -> npt.NDArray[np.bool_]:
        if slot.kind == "base":
            return np.ones(len(self.rows), bool)
        found: npt.NDArray[np.bool_] = getattr(self, slot.kind) == slot.level
        return found

    def log_predictions(self, values: Array, nudged: str = "") -> Array:
        """Log of every row's prediction under deviations, one parameter nudged for all replicas; NaN where a replica does not fit."""
        by_level = _by_level(self.slots, values)
        cache: dict[int, Constants] = {}

        def constants_of(replica: Replica) -> Constants:
            if id(replica) not in cache:
                cache[id(replica)] = fold(shaken(replica, by_level, nudged))
            return cache[id(replica)]

        found = quantities(self.runs, constants_of)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.array(
                [math.log(found[quantity][run]) if found[quantity][run] > 0 else math.nan for quantity, run in zip(self.quantity, self.run_of, strict=True)]
            )
        for slot, value, mask in zip(self.slots, values, self.masks, strict=True):
            if slot.kind == "era":
                logs = logs + value * mask
        return logs

    def jacobian(self, values: Array, logs: Array) -> Array:
        """Derivatives of the log predictions, (rows, slots): one run of the engine per parameter."""
        columns = np.zeros((len(self.slots), len(self.rows)))
        slopes: dict[str, Array] = {}
        for index, slot in enumerate(self.slots):
            if slot.kind == "era":
                columns[index] = self.masks[index]
                continue
            if slot.parameter not in slopes:
                slopes[slot.parameter] = (self.log_predictions(values, slot.parameter) - logs) / _STEP
            columns[index] = np.where(self.masks[index], slopes[slot.parameter], 0.0)
        return np.nan_to_num(columns.T)

    def solve(self, values: Array, logs: Array, jacobian: Array, used: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """One Gauss-Newton step with the sweeps' offsets projected out: new deviations, and their covariance."""
        residual = np.where(used & np.isfinite(logs), (logs - self.measured) / self.noise, 0.0)
        live = used & np.isfinite(logs)
        weight = np.where(live, self.weights / np.sqrt(1.0 + residual**2 / 2.0), 0.0)
        scaled = jacobian / self.noise[:, None]
        offsets = self._offsets(weight, scaled, residual)
        prior = np.array([slot.deviation for slot in self.slots]) ** -2.0
        normal = (scaled * weight[:, None]).T @ scaled - offsets[0] + np.diag(prior)
        gradient = (scaled * weight[:, None]).T @ residual - offsets[1] + prior * values
        step = -np.linalg.solve(normal, gradient)
        return values + np.clip(step, -0.5, 0.5), np.linalg.inv(normal)

    def _offsets(self, weight: Array, scaled: Array, residual: Array) -> tuple[Array, Array]:
        """What the offsets of the sweeps take from normal matrix and gradient (Schur complement), one offset a sweep and quantity."""
        keys = np.unique([f"{sweep}|{quantity}" for sweep, quantity in zip(self.sweeps, self.quantity, strict=True)], return_inverse=True)[1]
        size = keys.max() + 1
        unit = 1.0 / self.noise
        total = np.bincount(keys, weight * unit**2, size)
        prior = np.zeros(size)
        prior[keys] = self.sweep_deviation**-2.0
        cross = np.zeros((size, scaled.shape[1]))
        np.add.at(cross, keys, scaled * (weight * unit)[:, None])
        pull = np.bincount(keys, weight * unit * residual, size)
        held = 1.0 / (total + prior)
        return cross.T @ (cross * held[:, None]), cross.T @ (pull * held)

    def cost(self, values: Array, logs: Array, used: npt.NDArray[np.bool_]) -> float:
        """The loss without the offsets' part: to see that a step helped."""
        live = used & np.isfinite(logs)
        residual = np.where(live, (logs - self.measured) / self.noise, 0.0)
        prior = sum((value / slot.deviation) ** 2 for slot, value in zip(self.slots, values, strict=True))
        return float((self.weights * 4.0 * (np.sqrt(1.0 + residual**2 / 2.0) - 1.0)).sum() + prior)

    def fit(self, used: npt.NDArray[np.bool_], start: Array, jacobian: Array | None = None, iterations: int = _ITERATIONS) -> Fit:
        """Deviations that fit the used rows; with a given Jacobian only the predictions are made anew."""
        values = start.copy()
        logs = self.log_predictions(values)
        slopes = jacobian
        covariance = np.zeros((len(self.slots), len(self.slots)))
        for iteration in range(iterations):
            if jacobian is None and iteration < 4:
                slopes = self.jacobian(values, logs)
            assert slopes is not None
            moved, covariance = self.solve(values, logs, slopes, used)
            change = float(np.abs(moved - values).max())
            values, logs = moved, self.log_predictions(moved)
            self.progress(f"  step {iteration + 1}: largest change {change:.3f}")
            if change < 0.01:
                break
        return Fit(self.slots, values, covariance, logs, self.cost(values, logs, used))


Levels = Mapping[tuple[str, str], Mapping[str, float]]


def _by_level(slots: Sequence[Slot], values: Array) -> Levels:
    """(kind, level) -> parameter -> factor."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for slot, value in zip(slots, values, strict=True):
        if slot.kind != "era":
            found.setdefault((slot.kind, slot.level), {})[slot.parameter] = math.exp(value)
    return found


def shaken(replica: Replica, by_level: Levels, nudged: str = "") -> Replica:
    """A replica under factors on its parameters."""
    scale = {nudged: math.exp(_STEP)} if nudged else {}
    for key in (("base", ""), ("engine", replica.engine), ("generation", replica.accelerator.generation)):
        for name, factor in by_level.get(key, {}).items():
            scale[name] = scale.get(name, 1.0) * factor
    return replace(replica, calibration=replica.calibration.model_copy(update={"scale": scale}))


def rows_of(found: Measurements, calibration: Calibration) -> list[Row]:
    """Rows that a calibration is fitted on: those of its stacks under a plain load, in no doubt."""
    rows = []
    table = found.rows
    groups = table["group"].astype(str).tolist() if "group" in table else None
    for number, (index, metric, value) in enumerate(zip(found.run_of, table["metric"].astype(str), table["value"].astype(float), strict=True)):
        if index < 0 or found.doubtful[number]:
            continue
        run, quantity = found.runs[index], METRICS[metric]
        if run.replica.accelerator.stack not in calibration.stacks or not _is_plain(run, quantity):
            continue
        replica = run.replica
        group = groups[number] if groups else f"{replica.model.name} @ {replica.accelerator.name}"
        sweep = f"{replica.model.name}|{replica.accelerator.name}|{run.label}|{replica.precision.weights}"
        rows.append(Row(number, index, quantity, math.log(value), group, sweep))
    return rows


def _is_plain(run: Run, quantity: str) -> bool:
    """Whether a quantity under a load says something of the physics: latencies of a loop, the step of a batch, the rate of a saturated server."""
    return (
        quantity
        in {
            "closed": ("ttft_ms", "tpot_ms", "itl_ms"),
            "batch": ("itl_ms",),
            "saturated": ("output_tok_s",),
            "wave": ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"),
            "pools": (),
        }[run.load]
    )


def folds(groups: npt.NDArray[np.str_], count: int = 8) -> npt.NDArray[np.int64]:
    """Whole groups dealt out to folds of about equal size, the largest first."""
    names, sizes = np.unique(groups, return_counts=True)
    load, fold_of = np.zeros(count), {}
    for index in np.argsort(-sizes, kind="stable"):
        emptiest = int(load.argmin())
        fold_of[names[index]] = emptiest
        load[emptiest] += sizes[index]
    return np.array([fold_of[group] for group in groups])
