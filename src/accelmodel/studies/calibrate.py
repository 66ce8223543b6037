"""Fit the step model's parameters to published measurements, with the engine's own kernels, and judge the fit on groups left out whole.

A parameter of a replica is base x serving engine's factor x accelerator generation's factor; each is exp(prior + deviation), and a deviation is shrunk to 0
by a Gaussian prior. What is minimised is, over rows with weight w (the group's size to the power -0.4) and log residual r of standard deviation s,

    sum w 4 (sqrt(1 + (r / s)^2 / 2) - 1)  +  sum (deviation / prior's)^2           pseudo-Huber loss, Gaussian shrinkage

where r also has an offset of its sweep (model x accelerator x engine's version x dtype) that predictions never use: what a sweep hides (settings that its
source does not print) must not bend the physics. Gauss-Newton with bounded steps; derivatives by one run of the engine per parameter, shared out to the levels.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from accelmodel.catalog.calibrations import Anchoring, Calibration, Correlation, FitError, Measure, Parameters, Region, Spread, deviation_of, moved
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import Library
from accelmodel.core.fold import Constants, fold
from accelmodel.core.kernels import Array
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.kernel_priors import Estimate, estimates, informed
from accelmodel.studies.measured import METRICS, Measurements, Run, measurements
from accelmodel.studies.validate import MEASURE_OF, Report, load_class, quantities, report

Progress = Callable[[str], None]
Mask = npt.NDArray[np.bool_]

# Standard deviation of a log residual that counts as ordinary, and of a sweep's own offset, by quantity.
_NOISE = {"tpot_ms": 0.10, "itl_ms": 0.10, "ttft_ms": 0.25, "output_tok_s": 0.15, "e2e_ms": 0.15}
_SWEEP = {"tpot_ms": 0.15, "itl_ms": 0.15, "ttft_ms": 0.25, "output_tok_s": 0.15, "e2e_ms": 0.15}
_OF_REGIONS = (*_NOISE, "power_w")  # what regions tell of; other quantities follow from these
_GROUP_POWER = -0.4

# Parameters that may differ between generations of accelerators and between serving engines, with the prior's deviation of each factor. Overheads per layer
# are not among them: with a factor of their own they made left-out groups worse.
_BY_GENERATION = {"weight_bandwidth_efficiency": 0.08, "kv_bandwidth_efficiency": 0.10, "compute_efficiency_fp4": 0.15, "link_efficiency": 0.20}
_BY_ENGINE = {"burst_fraction": 0.20, "first_step_wait_steps": 0.20, "sequence_overhead": 0.15}
# Left at their priors: what measurements do not identify, and what is physics: every second is spent once, a whole square is twice a triangle.
_FIXED = (
    *("chunk_tokens", "usable_memory_fraction", "runtime_reserve", "graph_reserve", "link_overlap_fraction", "scale_out_latency", "serial_prefill"),
    *("prefill_stall_fraction", "prefill_square_factor", "prefill_pool_utilisation", "kv_row_floor", "compute_efficiency_int8"),
    *("expert_unread_fraction", "expert_prefill_factor"),
)
# Left at their priors, too, with what priors say of each engine: fitted, they made left-out groups no better, and all together worse. Each is tried again
# where a calibration is ablated, so that a change of the engine or of the measurements brings back what then earns its place.
_UNEARNED = (
    *("attention_compute_efficiency", "expert_efficiency", "expert_imbalance_factor", "moe_layer_overhead", "linear_layer_overhead", "step_overhead"),
    *("prefill_layer_overhead", "first_token_overhead"),
)
_UNEARNED_BY_GENERATION = {"compute_efficiency_bf16": 0.15, "compute_efficiency_fp8": 0.15}
_UNEARNED_BY_ENGINE = {"first_token_overhead": 0.20, "prefill_layer_overhead": 0.20, "prefill_latency_factor": 0.08}

_STEP = 1e-3
_TOLD = 0.9  # a figure stays at its prior where its range shrinks by less than a tenth and it hardly moves
_MOVED = 0.02
_ENOUGH = 12  # rows from which a spread is taken
_ENOUGH_SWEEPS = 5  # sweeps of three rows or more from which their scatter is taken
_ENOUGH_FOR_FACTORS = 1000  # rows from which engines and generations get factors of their own
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
    kind: str  # base, engine, generation
    level: str
    deviation: float


@dataclass(frozen=True)
class Fit:
    """A calibration's fit: deviations of the slots, their covariance, and log predictions of the rows."""

    slots: tuple[Slot, ...]
    values: Array
    covariance: Array
    log_predicted: Array


class Problem:
    """Rows of one calibration's stacks, and the engine as a function of the deviations; `held` are factors on the priors' centres."""

    def __init__(self, found: Measurements, calibration: Calibration, rows: Sequence[Row], progress: Progress) -> None:
        self.held: Mapping[str, float] = {}
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
        self.slots = tuple(self._slots())
        self.masks = np.array([self._mask(slot) for slot in self.slots])

    def _slots(self) -> list[Slot]:
        names = [name for name in Parameters.model_fields if name not in _FIXED + _UNEARNED and not name.startswith("power_")]
        slots = self._base(names)
        free = {slot.parameter for slot in slots}
        for kind, table in (("engine", _BY_ENGINE), ("generation", _BY_GENERATION)):
            slots += self._levels(kind, {name: deviation for name, deviation in table.items() if name in free})
        return slots

    def _base(self, names: Iterable[str]) -> list[Slot]:
        """Deviations for all replicas, of those parameters whose priors have a width."""
        figures = {name: getattr(self.calibration.parameters, name) for name in names}
        return [Slot(name, "base", "", deviation_of(one)) for name, one in figures.items() if one.si_high > one.si_low and one.si > 0.0]

    def _levels(self, kind: str, table: Mapping[str, float]) -> list[Slot]:
        """Deviations of a kind's levels, where there are several and rows enough to tell."""
        present = sorted(set(getattr(self, kind).tolist()))
        if len(present) < 2 or len(self.rows) < _ENOUGH_FOR_FACTORS:
            return []
        return [Slot(name, kind, level, deviation) for name, deviation in table.items() for level in present]

    def unearned(self) -> dict[str, list[Slot]]:
        """What is not fitted but might be: title -> deviations."""
        found = {name: self._base([name]) for name in _UNEARNED}
        for kind, table in (("serving engine", _UNEARNED_BY_ENGINE), ("generation", _UNEARNED_BY_GENERATION)):
            found |= {f"{name}, by {kind}": self._levels(kind.split()[-1], {name: deviation}) for name, deviation in table.items()}
        return {title: slots for title, slots in found.items() if slots}

    def _mask(self, slot: Slot) -> Mask:
        if slot.kind == "base":
            return np.ones(len(self.rows), bool)
        found: Mask = getattr(self, slot.kind) == slot.level
        return found

    def with_slots(self, slots: Sequence[Slot], held: Mapping[str, float]) -> Problem:
        """The same rows with other deviations, or fewer, and factors on the priors' centres."""
        other = copy(self)
        other.slots, other.held = tuple(slots), held
        other.masks = np.array([self._mask(slot) for slot in slots])
        return other

    def log_predictions(self, values: Array, nudged: str = "") -> Array:
        """Log of every row's prediction under deviations, one parameter nudged for all replicas; NaN where a replica does not fit."""
        found = quantities(self.runs, shaken_constants(_by_level(self.slots, values, self.held), nudged))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.array(
                [math.log(found[quantity][run]) if found[quantity][run] > 0 else math.nan for quantity, run in zip(self.quantity, self.run_of, strict=True)]
            )

    def jacobian(self, values: Array, logs: Array) -> Array:
        """Derivatives of the log predictions, (rows, slots): one run of the engine per parameter."""
        columns = np.zeros((len(self.slots), len(self.rows)))
        slopes: dict[str, Array] = {}
        for index, slot in enumerate(self.slots):
            if slot.parameter not in slopes:
                slopes[slot.parameter] = (self.log_predictions(values, slot.parameter) - logs) / _STEP
            columns[index] = np.where(self.masks[index], slopes[slot.parameter], 0.0)
        return np.nan_to_num(columns.T)

    def solve(self, values: Array, logs: Array, jacobian: Array, used: Mask) -> tuple[Array, Array]:
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

    def fit(self, used: Mask, start: Array, jacobian: Array | None = None, iterations: int = _ITERATIONS) -> Fit:
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
        return Fit(self.slots, values, covariance, logs)


Levels = Mapping[tuple[str, str], Mapping[str, float]]


def _by_level(slots: Sequence[Slot], values: Array, held: Mapping[str, float] | None = None) -> Levels:
    """(kind, level) -> parameter -> factor."""
    found: dict[tuple[str, str], dict[str, float]] = {("base", ""): dict(held or {})}
    for slot, value in zip(slots, values, strict=True):
        factors = found.setdefault((slot.kind, slot.level), {})
        factors[slot.parameter] = factors.get(slot.parameter, 1.0) * math.exp(value)
    return found


def shaken(replica: Replica, by_level: Levels, nudged: str = "") -> Replica:
    """A replica under factors on its parameters."""
    scale = {nudged: math.exp(_STEP)} if nudged else {}
    for key in (("base", ""), ("engine", replica.engine), ("generation", replica.accelerator.generation)):
        for name, factor in by_level.get(key, {}).items():
            scale[name] = scale.get(name, 1.0) * factor
    return replace(replica, calibration=replica.calibration.model_copy(update={"scale": scale}))


def shaken_constants(by_level: Levels, nudged: str = "") -> Callable[[Replica], Constants]:
    """The folded constants of replicas under factors on their parameters, each made once."""
    made: dict[int, Constants] = {}

    def constants_of(replica: Replica) -> Constants:
        if id(replica) not in made:
            made[id(replica)] = fold(shaken(replica, by_level, nudged))
        return made[id(replica)]

    return constants_of


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


@dataclass(frozen=True)
class Judged:
    """A fit beside what became of left-out groups: log predictions of the problem's rows, each made without its group, their variance by the covariance
    of that fit's parameters, and the quantities of every run of the stacks.
    """

    fit: Fit
    slopes: Array
    left_out: Array
    variance: Array
    quantities: dict[str, Array]


def judge(problem: Problem, found: Measurements, count: int = 8) -> Judged:
    """Fit to all rows, then again without each fold of whole groups; a fold's predictions come from the fit that did not see it."""
    everything = np.ones(len(problem.rows), bool)
    start = np.zeros(len(problem.slots))
    problem.progress(f"{len(problem.rows):,} rows, {len(problem.runs):,} runs, {len(problem.slots)} deviations")
    whole = problem.fit(everything, start)
    slopes = problem.jacobian(whole.values, whole.log_predicted)
    fold_of = folds(problem.groups, count)
    of_group = dict(zip(problem.groups.tolist(), fold_of.tolist(), strict=True))
    run_folds = _run_folds(found, of_group)
    left_out, variance = np.full(len(problem.rows), math.nan), np.full(len(problem.rows), math.nan)
    values = {name: np.full(len(found.runs), math.nan) for name in set(METRICS.values())}
    for number, without in enumerate(without_folds(problem, whole.values, slopes, fold_of)):
        unseen = fold_of == number
        left_out[unseen] = without.log_predicted[unseen]
        variance[unseen] = np.einsum("ij,jk,ik->i", slopes[unseen], without.covariance, slopes[unseen])
        chosen = [index for index, run in enumerate(found.runs) if run_folds[index] == number and run.replica.accelerator.stack in problem.calibration.stacks]
        predicted = quantities([found.runs[index] for index in chosen], shaken_constants(_by_level(problem.slots, without.values)))
        for name, numbers in predicted.items():
            values[name][chosen] = numbers
    return Judged(whole, slopes, left_out, variance, values)


def without_folds(problem: Problem, start: Array, slopes: Array, fold_of: npt.NDArray[np.int64]) -> Iterator[Fit]:
    """A fit without each fold of groups, near the fit on all rows."""
    count = int(fold_of.max()) + 1
    for number in range(count):
        problem.progress(f"left out: fold {number + 1} of {count}")
        yield problem.fit(fold_of != number, start, slopes, 3)


def _run_folds(found: Measurements, of_group: Mapping[str, int]) -> list[int]:
    """The fold of every run's group; 0 for groups that no row of the fit has."""
    result = [0] * len(found.runs)
    groups = group_names(found)
    for index, group in zip(found.run_of, groups, strict=True):
        if index >= 0:
            result[index] = of_group.get(group, 0)
    return result


def group_names(found: Measurements) -> list[str]:
    """The group of every row: the file's, or model @ accelerator."""
    if "group" in found.rows:
        return [str(group) for group in found.rows["group"]]
    runs = [found.runs[index] if index >= 0 else None for index in found.run_of]
    return [f"{run.replica.model.name} @ {run.replica.accelerator.name}" if run else "" for run in runs]


def residuals(found: Measurements, values: Mapping[str, Array], calibration: Calibration) -> pd.DataFrame:
    """Log of measured over predicted of every predicted row of a calibration's stacks, with its load and measure, and where it lies."""
    table = []
    rows = zip(found.run_of, found.rows["metric"].astype(str), found.rows["value"].astype(float), found.doubtful, strict=True)
    for index, metric, value, doubtful in rows:
        if index < 0 or found.runs[index].replica.accelerator.stack not in calibration.stacks:
            continue
        quantity = METRICS[metric]
        predicted = values[quantity][index]
        if predicted > 0 and math.isfinite(predicted):
            run = found.runs[index]
            one = run.replica
            sweep = f"{one.model.name} {one.accelerator.name} {one.accelerators} {one.parallelism} {one.precision} {run.label} {run.load} {quantity}"
            measured = (load_class(run), MEASURE_OF.get(quantity, "throughput"), quantity, math.log(value / predicted))
            table.append((*measured, one.has_experts, one.accelerator.generation, one.engine, bool(doubtful), sweep))
    columns = ["load", "measure", "quantity", "residual", "has_experts", "generation", "engine", "is_doubtful", "sweep"]
    return pd.DataFrame(table, columns=columns)


def regions_of(table: pd.DataFrame) -> tuple[Region, ...]:
    """Errors of left-out rows that are in no doubt, by region."""
    sure = table[~table["is_doubtful"] & table["quantity"].isin(_OF_REGIONS)]
    found = []
    for (generation, experts, engine, load), rows in sure.groupby(["generation", "has_experts", "engine", "load"], sort=True):
        errors = errors_of(rows["quantity"].to_numpy(dtype=str), -rows["residual"].to_numpy(), np.zeros(len(rows)))
        found.append(Region(generation=str(generation), experts=bool(experts), engine=str(engine), load=str(load), errors=errors))
    return tuple(found)


def spreads_of(table: pd.DataFrame) -> dict[str, dict[Measure, Figure]]:
    """Load -> measure -> half-width of the central 90 % of left-out rows, as a factor."""
    found: dict[str, dict[Measure, Figure]] = {}
    for (load, measure), rows in table.groupby(["load", "measure"], sort=True):
        if len(rows) >= _ENOUGH:
            found.setdefault(str(load), {})[cast(Measure, measure)] = _half_width(rows["residual"].to_numpy())
    return found


def _half_width(residual: Array) -> Figure:
    share = [math.exp(float(np.quantile(np.abs(residual), level))) for level in (0.85, 0.9, 0.95)]
    low, value, high = (round(max(number, 1.0), 3) for number in share)
    return Figure(value=min(value, 100.0), low=min(low, 100.0), high=min(high, 100.0), unit="1", kind="estimated")


def errors_of(quantity: npt.NDArray[np.str_], log_predicted: Array, log_measured: Array) -> dict[str, FitError]:
    """Errors by quantity."""
    found = {}
    for name in sorted(set(quantity.tolist())):
        chosen = (quantity == name) & np.isfinite(log_predicted)
        error = np.abs(np.exp(log_predicted[chosen] - log_measured[chosen]) - 1.0)
        if len(error):
            numbers = (float(np.median(error)), float(error.mean()), float(np.quantile(error, 0.9)))
            found[name] = FitError(rows=len(error), median=round(numbers[0], 4), mean=round(numbers[1], 4), p90=round(numbers[2], 4))
    return found


# Bounds within which a figure and its range stay, where they are tighter than any fit would go.
_BOUNDS = {
    "burst_fraction": (0.0, 1.0),
    "expert_skew_exponent": (0.5, 1.0),
    "expert_imbalance_factor": (1.0, 5.0),
    "kv_reserved_fraction": (0.0, 3.0),
    "prefill_stall_fraction": (0.0, 2.0),
    "prefill_square_factor": (1.0, 2.0),
}


def fitted(problem: Problem, judged: Judged, found: Measurements, *, is_informed: bool = False) -> Calibration:
    """The calibration of a fit: the prior's (`is_informed` by kernels or not), its figures moved and their ranges narrowed to what the rows allow."""
    prior, fit = problem.calibration, judged.fit
    deviation = np.sqrt(np.diag(fit.covariance))
    told = [sigma < _TOLD * slot.deviation or abs(value) > _MOVED for slot, value, sigma in zip(fit.slots, fit.values, deviation, strict=True)]
    moves = {
        (slot.kind, slot.level, slot.parameter): (float(value), float(sigma))
        for slot, value, sigma, tells in zip(fit.slots, fit.values, deviation, told, strict=True)
        if tells
    }
    parameters = {
        name: _moved(getattr(prior.parameters, name), *moves[("base", "", name)], _BOUNDS.get(name, (0.0, 1.2 if name.endswith("_efficiency") else math.inf)))
        for name in Parameters.model_fields
        if ("base", "", name) in moves
    }
    engines = {key: engine.model_copy(update={"factors": _factors("engine", key, engine.factors, moves)}) for key, engine in prior.engines.items()}
    levels = sorted({*prior.generations, *problem.generation.tolist()})
    generations = {level: factors for level in levels if (factors := _factors("generation", level, prior.generations.get(level, {}), moves))}
    table = residuals(found, judged.quantities, prior)
    plain = table[~table["has_experts"]] if "moe" in prior.spreads else table
    cut = {"seen": _general(plain, prior)} if "seen" in prior.spreads else {}
    return prior.model_copy(
        update={
            "name": prior.name.replace("prior", "fit"),
            "title": prior.title.replace("priors", "fit"),
            "date": datetime.date.today().isoformat(),
            "base": None,
            "prior": prior.name,
            "fitted_on": _fitted_on(problem, found) + ("; priors of operators joined with latencies of kernels" if is_informed else ""),
            "parameters": prior.parameters.model_copy(update=parameters),
            "engines": engines,
            "generations": generations,
            "measured": tuple(sorted(set(problem.generation.tolist()))),
            "spreads": {**prior.spreads, **cut},
            "load_spreads": spreads_of(plain),
            "anchoring": anchoring_of(plain),
            "errors": errors_of(problem.quantity, judged.left_out, problem.measured),
            "regions": regions_of(table),
            "correlations": _correlations(fit),
        }
    )


def _fitted_on(problem: Problem, found: Measurements) -> str:
    """Rows, groups and sources of a fit."""
    groups = len(set(problem.groups.tolist()))
    named = found.rows["source"].astype(str).tolist() if "source" in found.rows else []
    sources = sorted({named[row.number] for row in problem.rows}) if named else []
    return f"{len(problem.rows):,} rows of {groups} groups, judged on whole left-out groups" + (": " + "; ".join(sources) if sources else "")


# Loads that tell of each of the general measures, where the kind of load is not told apart.
_LOOP = ("closed", "closed-busy", "wave")
_GENERAL: Mapping[Measure, tuple[str, ...]] = {"time_to_first_token": _LOOP, "time_per_output_token": _LOOP, "throughput": ("saturated", *_LOOP)}


def _general(table: pd.DataFrame, prior: Calibration) -> Spread:
    """The spread where the kind of load is not told apart: that of a loop, and of saturated servers; the prior's where too few rows tell, or
    where benchmarks are so alike that they would bound what planners run too narrowly.
    """
    own = prior.spreads["seen"]
    widths = {}
    for name, loads in _GENERAL.items():
        rows = table[table["load"].isin(loads) & (table["measure"] == name)]
        found = _half_width(rows["residual"].to_numpy()) if len(rows) >= _ENOUGH else getattr(own, name)
        widths[name] = found if found.value > getattr(own, name).si_low else getattr(own, name)
    return Spread(**widths)


def anchoring_of(table: pd.DataFrame) -> dict[Measure, Anchoring]:
    """Scatter within replicas' sweeps, by measure."""
    found: dict[Measure, Anchoring] = {}
    for name, loads in _GENERAL.items():
        rows = table[table["load"].isin(loads) & (table["measure"] == name)]
        sweeps = [sweep["residual"].to_numpy() for _, sweep in rows.groupby("sweep")]
        sweeps = [sweep for sweep in sweeps if len(sweep) > 2]
        if len(sweeps) >= _ENOUGH_SWEEPS:
            found[name] = _scatter(sweeps)
    return found


def _scatter(sweeps: Sequence[Array]) -> Anchoring:
    """Typical deviation within sweeps and how alike sweeps are in it, by maximum likelihood: the ratio of a sweep's variance to the typical one has
    Fisher's distribution where variances are a scaled inverse chi-squared.
    """
    from scipy.optimize import minimize
    from scipy.stats import f

    variance = np.maximum([sweep.var(ddof=1) for sweep in sweeps], 1e-8)
    freedom = np.array([len(sweep) - 1.0 for sweep in sweeps])

    def surprise(x: Array) -> float:
        return -float(np.sum(f.logpdf(variance * np.exp(-2.0 * x[0]), freedom, np.exp(x[1])) - 2.0 * x[0]))

    best = minimize(surprise, np.log([math.sqrt(np.median(variance)), 4.0]), method="BFGS")
    deviation = np.minimum(np.sqrt(np.diag(best.hess_inv)), 1.0)
    within, rows = (_factor(float(value), float(sigma)) for value, sigma in zip(best.x, deviation, strict=True))
    return Anchoring(within=within, rows=rows)


def _moved(figure: Figure, move: float, sigma: float, bounds: tuple[float, float]) -> Figure:
    """A figure moved by a log deviation, with the central 90 % of its posterior as the range."""
    centre = min(max(figure.value * math.exp(move), bounds[0]), bounds[1])
    low, high = centre * math.exp(-1.645 * sigma), min(centre * math.exp(1.645 * sigma), bounds[1])
    low = max(low, bounds[0])
    value, low, high = _short(centre), min(_short(low), _short(centre)), max(_short(high), _short(centre))
    return moved(figure, value, low, high)


def _factor(value: float, sigma: float) -> Figure:
    centre = _short(math.exp(value))
    low, high = _short(math.exp(value - 1.645 * sigma)), _short(math.exp(value + 1.645 * sigma))
    return Figure(value=centre, low=min(low, centre), high=max(high, centre), unit="1", kind="estimated")


def _short(number: float) -> float:
    return float(f"{number:.4g}")


Moves = Mapping[tuple[str, str, str], tuple[float, float]]


def _factors(kind: str, level: str, own: Mapping[str, Figure], moves: Moves) -> dict[str, Figure]:
    """The factors of an engine or generation: the prior's, moved."""
    found = dict(own)
    for (of, at, name), (value, sigma) in moves.items():
        if of == kind and at == level:
            found[name] = _moved(found[name], value, sigma, (0.01, 100.0)) if name in found else _factor(value, sigma)
    return found


def _correlations(fit: Fit, least: float = 0.3) -> tuple[Correlation, ...]:
    """Correlations of at least 0.3 between deviations of the base parameters."""
    sigma = np.sqrt(np.diag(fit.covariance))
    base = [index for index, slot in enumerate(fit.slots) if slot.kind == "base"]
    matrix = fit.covariance / np.outer(sigma, sigma)
    pairs = [(i, j) for i in base for j in base if i < j and abs(matrix[i, j]) >= least]
    return tuple(Correlation(between=(fit.slots[i].parameter, fit.slots[j].parameter), value=round(float(matrix[i, j]), 2)) for i, j in pairs)


def _silent(_message: str) -> None:
    """No progress."""


@dataclass(frozen=True)
class Calibrated:
    """Calibrations made from measurements, the fits behind them, and the measurements beside what fits that did not see them predict."""

    calibrations: tuple[Calibration, ...]
    left_out: Report
    fits: tuple[tuple[Problem, Judged], ...]


def calibrate(
    measured: str | Path | pd.DataFrame,
    output: str | Path | None = None,
    *,
    kernels: str | Path | pd.DataFrame | None = None,
    catalog: Library | None = None,
    progress: Progress = _silent,
) -> list[Calibration]:
    """Fit every calibration whose stacks the measurements name, starting from its priors; write TOML files into `output` where it is given.

    `kernels` are latencies of single operators, which inform the priors. Spreads and errors come from whole groups left out, eight folds (or as many
    as there are groups). InputError where too few rows can be used.
    """
    library = catalog or Library()
    told = {} if kernels is None else estimates(kernels, library)
    return list(cross_validated(measured, output, kernels=told, catalog=library, progress=progress).calibrations)


def cross_validated(
    measured: str | Path | pd.DataFrame,
    output: str | Path | None = None,
    *,
    kernels: Mapping[str, Estimate] | None = None,
    catalog: Library | None = None,
    progress: Progress = _silent,
) -> Calibrated:
    """`calibrate`, with what kernels say already made out, and every row's prediction by a fit that did not see its group."""
    library = catalog or Library()
    priors = [informed(prior, kernels or {}) for prior in _priors(library)]
    found = measurements(measured, library, priors={prior.name: prior for prior in priors})
    values = quantities(found.runs)
    made, fits = {}, []
    for prior in priors:
        rows = rows_of(found, prior)
        groups = len({row.group for row in rows})
        if groups < 2 or len(rows) < _ENOUGH:
            continue
        progress(f"{prior.title}:")
        problem = Problem(found, prior, rows, progress)
        judged = judge(problem, found, min(8, groups))
        made[prior.name] = fitted(problem, judged, found, is_informed=prior != library.calibration(prior.name))
        fits.append((problem, judged))
        for name, numbers in judged.quantities.items():
            values[name] = np.where(np.isfinite(numbers), numbers, values[name])
    if not made:
        file = "the data given" if isinstance(measured, pd.DataFrame) else measured
        raise InputError("holds too few rows of any software stack to fit on", file=file)
    if output is not None:
        from accelmodel.studies.calibration_files import write

        for calibration in made.values():
            progress(f"wrote {write(calibration, Path(output))}")
    return Calibrated(tuple(made.values()), report(found, values, made), tuple(fits))


def _priors(library: Library) -> list[Calibration]:
    """The calibrations that fits start from: those that are no fit themselves, and carry nothing over."""
    found = [library.calibration(name) for name in library.files("calibrations")]
    return [calibration for calibration in found if calibration.prior is None and calibration.base is None]
