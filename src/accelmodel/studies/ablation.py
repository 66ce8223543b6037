"""What each fitted parameter earns: taken away one at a time, the rest fitted anew, and judged on the same groups left out whole.

A parameter is neutralised in the way that means the least: a term of the step is taken out (no overhead, every token of the batch counted once), an
efficiency is left at its prior. A family of level factors (by engine, by generation) is taken away parameter by parameter, and whole.
The verdict is the fit's own loss on left-out rows, whose weights keep large groups from deciding alone: the change against the full model, and the
standard error of that change from how it differs between groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accelmodel.catalog.calibrations import QUANTITIES, Calibration, FitError, Parameters, deviation_of
from accelmodel.catalog.library import Library
from accelmodel.core.kernels import Array
from accelmodel.studies.calibrate import Calibrated, Judged, Problem, Slot, errors_of, folds, without_folds
from accelmodel.studies.kernel_priors import Estimate, informed

# Value at which a parameter has no effect, in SI; others are left at their prior.
_NEUTRAL = {
    **dict.fromkeys(("layer_overhead", "moe_layer_overhead", "mla_layer_overhead", "linear_layer_overhead", "step_overhead", "sequence_overhead"), 0.0),
    **dict.fromkeys(
        ("prefill_layer_overhead", "first_token_overhead", "first_step_wait_steps", "burst_fraction", "gemm_floor_tokens", "kv_reserved_fraction"), 0.0
    ),
    **dict.fromkeys(("expert_efficiency", "expert_skew_exponent", "expert_imbalance_factor", "prefill_latency_factor", "saturated_factor"), 1.0),
}
_SERVED = (0.08, 0.3, math.inf)  # deviations between kernels alone and in a served model that are tried beside the one in use
_HEAD = """\
# What each parameter earns

Written by `accelmodel calibrate MEASURED --output DIR --ablation FILE`. One thing is taken away at a time, the rest is fitted anew without each fold of
whole groups, and judged on that fold. *Loss* is the change of the fit's own loss on left-out rows against the full model, with its standard error over
groups: what is above zero beyond its error earns its place; what is not is free to go. Errors are median / mean % of left-out rows. What no row depends
on is not shown.
"""
_FAMILIES = {"engine": "by serving engine", "generation": "by generation"}


@dataclass(frozen=True)
class Variant:
    """A model that differs from the full one: which deviations it has, and factors on the priors' centres."""

    name: str
    instead: str
    slots: tuple[Slot, ...]
    held: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """A variant's errors on left-out groups by quantity, its number of deviations, and its loss there against the full model's, with standard error."""

    variant: Variant
    deviations: int
    errors: dict[str, FitError]
    change: float
    standard_error: float


def variants(problem: Problem, others: Iterable[Variant] = ()) -> Iterator[Variant]:
    """Everything that can be taken away from a problem, after `others`."""
    yield Variant("everything", "no fit: the priors", (), {})
    yield from others
    for name in [slot.parameter for slot in problem.slots if slot.kind == "base"]:
        rest = tuple(slot for slot in problem.slots if slot.parameter != name)
        yield Variant(name, "its prior", rest, {})
        if name in _NEUTRAL:
            prior = getattr(problem.calibration.parameters, name).si
            yield Variant(name, f"no effect ({_NEUTRAL[name]:g})", rest, {name: _NEUTRAL[name] / prior})
    for kind, title in _FAMILIES.items():
        members = sorted({slot.parameter for slot in problem.slots if slot.kind == kind})
        for name in members:
            yield Variant(f"{name}, {title}", "one for all", tuple(slot for slot in problem.slots if (slot.parameter, slot.kind) != (name, kind)), {})
        if len(members) > 1:
            yield Variant(f"all factors {title}", "one for all", tuple(slot for slot in problem.slots if slot.kind != kind), {})


def additions(problem: Problem) -> Iterator[Variant]:
    """Everything that is not fitted but might be."""
    for title, slots in problem.unearned().items():
        yield Variant(f"(nothing, and with {title})", "fitted too", (*problem.slots, *slots), {})


def other_priors(problem: Problem, prior: Calibration, name: str, instead: str) -> Variant:
    """The problem under other priors."""
    centres = {key: (getattr(prior.parameters, key).si, getattr(problem.calibration.parameters, key).si) for key in Parameters.model_fields}
    held = {key: wanted / own for key, (wanted, own) in centres.items() if wanted != own and own > 0.0}
    slots = [replace(slot, deviation=deviation_of(getattr(prior.parameters, slot.parameter))) if slot.kind == "base" else slot for slot in problem.slots]
    return Variant(name, instead, tuple(slots), held)


def outcome(problem: Problem, judged: Judged, variant: Variant) -> Outcome:
    """A variant fitted without each fold, from the full fit."""
    other = problem.with_slots(variant.slots, variant.held)
    place = {(slot.parameter, slot.kind, slot.level): index for index, slot in enumerate(problem.slots)}
    known = [place.get((slot.parameter, slot.kind, slot.level)) for slot in variant.slots]
    moved = [math.log(variant.held.get(slot.parameter, 1.0)) if slot.kind == "base" else 0.0 for slot in variant.slots]
    start = np.array([0.0 if index is None else judged.fit.values[index] for index in known]) - moved
    fold_of = folds(problem.groups, min(8, len(set(problem.groups.tolist()))))
    left_out = np.full(len(problem.rows), math.nan)
    if known:
        kept = [index for index in known if index is not None]
        is_near = not variant.held and len(kept) == len(known)
        slopes = judged.slopes[:, kept] if is_near else other.jacobian(start, other.log_predictions(start))
        for number, fit in enumerate(without_folds(other, start, slopes, fold_of)):
            left_out[fold_of == number] = fit.log_predicted[fold_of == number]
    else:
        left_out = other.log_predictions(start)
    change, error = _change(problem, judged.left_out, left_out)
    return Outcome(variant, len(known), errors_of(problem.quantity, left_out, problem.measured), change, error)


def _change(problem: Problem, full: Array, other: Array) -> tuple[float, float]:
    """Change of the loss on left-out rows, as a fraction of the full model's, and its standard error over groups."""
    both = np.isfinite(full) & np.isfinite(other)
    before, after = (np.where(both, problem.weights * _loss((logs - problem.measured) / problem.noise), 0.0) for logs in (full, other))
    groups, of = np.unique(problem.groups, return_inverse=True)
    by_group = np.bincount(of, after - before, len(groups))
    total = float(before.sum())
    return float(by_group.sum()) / total, float(np.std(by_group) * math.sqrt(len(groups))) / total


def _loss(residual: Array) -> Array:
    """Pseudo-Huber loss of residuals in standard deviations, as the fit minimises it."""
    return np.asarray(4.0 * (np.sqrt(1.0 + np.nan_to_num(residual) ** 2 / 2.0) - 1.0))


def page(result: Calibrated, kernels: Mapping[str, Estimate], catalog: Library, progress: Callable[[str], None]) -> str:
    """The study of every fit of a result, as a page of Markdown; `kernels` is what single operators say, empty where it was not asked for."""
    return "\n".join(_lines(result, kernels, catalog, progress)) + "\n"


def _lines(result: Calibrated, kernels: Mapping[str, Estimate], catalog: Library, progress: Callable[[str], None]) -> Iterator[str]:
    yield from _HEAD.splitlines()
    for calibration, (problem, judged) in zip(result.calibrations, result.fits, strict=True):
        told = {name: one for name, one in kernels.items() if one.stacks & set(calibration.stacks)}
        prior = catalog.calibration(problem.calibration.name)
        tried = [*(_informed(problem, prior, told, served) for served in _SERVED if told), *additions(problem)]
        yield f"\n## {calibration.title}\n"
        yield from _table(problem, judged, [one for one in variants(problem, tried) if _matters(problem, judged, one)], progress)
        if told:
            yield from _kernels(calibration, prior, told)


def _informed(problem: Problem, prior: Calibration, kernels: Mapping[str, Estimate], served: float) -> Variant:
    """The problem with kernels believed otherwise than it believes them."""
    return other_priors(
        problem, informed(prior, kernels, served), "what kernels say", f"{served:g} from kernel to served" if served < math.inf else "the priors alone"
    )


def _matters(problem: Problem, judged: Judged, variant: Variant) -> bool:
    """Whether a variant changes anything that any row depends on."""
    missing = [index for index, slot in enumerate(problem.slots) if slot not in variant.slots]
    return len(variant.slots) > len(problem.slots) or bool(np.any(judged.slopes[:, missing]))


def _table(problem: Problem, judged: Judged, chosen: Sequence[Variant], progress: Callable[[str], None]) -> Iterator[str]:
    """One fit's variants, the one that costs the most first."""
    found = []
    quiet = problem.with_slots(problem.slots, {})
    quiet.progress = lambda _: None
    for number, variant in enumerate(chosen):
        progress(f"ablation {number + 1} of {len(chosen)}: {variant.name}, {variant.instead}")
        found.append(outcome(quiet, judged, variant))
    full = errors_of(problem.quantity, judged.left_out, problem.measured)
    yield f"| without | instead | deviations | loss, % | {' | '.join(QUANTITIES.get(name, name) for name in full)} |"
    yield "|---" * (4 + len(full)) + "|"
    yield f"| (nothing: the full model) | | {len(problem.slots)} | | {_cells(full, full)} |"
    for one in sorted(found, key=lambda one: -one.change):
        loss = f"{100 * one.change:+.1f} ± {100 * one.standard_error:.1f}"
        yield f"| {one.variant.name} | {one.variant.instead} | {one.deviations} | {loss} | {_cells(one.errors, full)} |"


def _kernels(fit: Calibration, prior: Calibration, kernels: Mapping[str, Estimate]) -> Iterator[str]:
    """What single operators say beside prior and fit."""
    yield "\n### Single operators\n"
    yield "Efficiencies that kernels alone reach, fitted with the engine's operator equation and a launch, table by table: the middle, and how far tables"
    yield "lie apart.\n"
    yield "| parameter | kernels | apart, % | tables | prior (90 %) | fit |\n|---|---|---|---|---|---|"
    for name, one in kernels.items():
        figure = getattr(prior.parameters, name)
        cells = f"{one.value:.3g} | {100 * one.deviation:.0f} | {one.tables} | {figure.value:g} ({figure.low:g} to {figure.high:g})"
        yield f"| {name} | {cells} | {getattr(fit.parameters, name).value:.3g} |"


def _cells(errors: dict[str, FitError], names: Iterable[str]) -> str:
    return " | ".join(f"{100 * errors[name].median:.1f} / {100 * errors[name].mean:.1f}" if name in errors else "" for name in names)
