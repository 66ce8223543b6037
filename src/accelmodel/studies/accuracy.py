"""How accurate the engine is on groups that its fit did not see, as a page of Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from accelmodel.catalog.calibrations import QUANTITIES, Calibration
from accelmodel.catalog.library import Library
from accelmodel.catalog.references import Reference
from accelmodel.core.kernels import Array
from accelmodel.studies import floors
from accelmodel.studies.anchor import half_width
from accelmodel.studies.calibrate import Calibrated
from accelmodel.studies.causes import cause
from accelmodel.studies.measured import METRICS
from accelmodel.studies.validate import Report, errors

_SHOWN = ("tpot_ms", "itl_ms", "ttft_ms", "output_tok_s", "e2e_ms", "power_w")
UNITS = {"tpot_ms": "ms", "itl_ms": "ms", "ttft_ms": "ms", "output_tok_s": "tokens/s", "e2e_ms": "ms", "power_w": "W"}
REFERENCE = "published_accuracy"  # the catalogue's entry of other tools' errors and of goals
_GOAL = "goal-"  # its groups of goals, by kind of load
_HEAD = "| {} | rows | median % | mean % | 90th % | bias % | in the 90 % interval |\n|---|---|---|---|---|---|---|"
_WORST = 10
_FEW = 5  # rows below which a level is not shown
_ANCHORS = (1, 3, 10)  # rows of one's own
_MANY = 20  # rows below which nothing is said of what is reachable
_LOADS = {"closed": "closed loop", "closed-busy": "closed loop", "wave": "wave", "open": "at a rate"}
_BY_SIMULATOR = """\
Percentiles beyond the median, and whatever was measured at a rate, are predicted by the request simulator with the shipped calibrations. No fit is made on
these rows, but fits are on other rows of the same models and accelerators: they are unseen, their groups are not. What is assumed: a closed loop's clients
start together and send as many prompts as the source says, or ten each; arrivals are a Poisson process (evenly spaced where the load generator is known to
space them), each replica having its share at random; every request has the mean length, because no source publishes more; and where the cut is not published,
it is the one that carries most. Intervals are those of means: nothing says yet how wide those of tails ought to be, and what they cover is told.

Where it is bad: first tokens at a rate near capacity. A few percent of capacity decide whether requests queue, and a tail multiplies what the mean's error is;
rates beyond the predicted capacity have no latency to compare at all, and are listed below as not carried. That is most of such a benchmark, whose rate is
raised until it hardly holds. A rate's own throughput says little where everything is carried: it is the load that was given.
"""
_RAISED = """\
Such a benchmark publishes the largest rate at which the 99th percentiles of first tokens and tokens stay within limits. Predicted is the largest rate at which
the simulated ones do: what a server is sold for, and not given. Beside it the tails at the measured rate over their limits (rows): where one is near 1, it is
what bounds the rate; both do, each for some models.
"""
_REACHABLE = """\
Median / mean % (rows). *Repeats*: rows that share every published label with a row of another value, against the middle of those values: no
predictor that goes by the labels can do better on them; *whatever release*: the same if the engine's release were not published either. *Offset*:
what this engine's predictions, made without the group, would reach for an oracle that also knew the typical ratio of the other rows alike in model
and accelerator; and in release of the engine and dtypes; and in parallelism; and in lengths. What falls away from left to right is an offset that
something constant causes and no label names; what stays to the right is shape over the load, and noise. Numbers of rows differ: an offset needs
two other rows.
"""


def shown(result: Calibrated) -> pd.DataFrame:
    """The predicted rows that the page is about, with their `quantity`."""
    rows = result.left_out.predicted.assign(quantity=result.left_out.predicted["metric"].map(METRICS))
    return rows[rows["quantity"].isin(_SHOWN)].reset_index(drop=True)


def page(result: Calibrated, catalog: Library, pictures: Mapping[str, str], whole: Report) -> str:
    """The page; `pictures` are drawings beside it, quantity -> file name, and `whole` is what `validate` says of the same measurements."""
    return "\n".join(_lines(result, shown(result), catalog.reference(REFERENCE), pictures, whole)) + "\n"


def _lines(result: Calibrated, rows: pd.DataFrame, reference: Reference, pictures: Mapping[str, str], whole: Report) -> Iterator[str]:
    yield "# Accuracy"
    yield ""
    yield "Written by `accelmodel calibrate MEASURED --output DIR --report FILE`. Every prediction below is made by a fit that did not see the row's group (a"
    yield "model on an accelerator): groups are left out whole, an eighth at a time. Errors are |predicted / measured - 1|; bias is the median signed error."
    yield "\nNot blind where a calibration's priors, or the model's terms, were chosen while looking at the same measurements, as the shipped ones were: other"
    yield "data will be worse. Intervals are the residuals of left-out groups by kind of load, so that over all such rows they cover nine tenths by"
    yield "construction; what they cover of a group that played no part in them stands below."
    for calibration in result.calibrations:
        yield from _fit(calibration)
    yield from _peers(result.calibrations, reference)
    yield from _pictures(rows, pictures)
    yield from _reachable(rows, reference)
    yield from _labels(rows)
    yield from _table("By what is measured, and how it is loaded", rows, ["quantity", "load"])
    for title, column in (("By accelerator", "accelerator_name"), ("By model", "model_name"), ("By serving engine", "engine_name")):
        yield from _table(title, rows, ["quantity", column])
    yield from _coverage(rows)
    yield from _parameters(result)
    yield from _anchored(result.calibrations)
    yield from _worst(rows)
    yield from _simulated(whole)
    yield from _skipped(result.left_out)
    yield from _extrapolated(result.calibrations)


def _peers(calibrations: Iterable[Calibration], reference: Reference) -> Iterator[str]:
    """Errors of the fits beside those that the catalogue has of other tools."""
    tools = {name: group for name, group in reference.groups.items() if not name.startswith(_GOAL)}
    fits = tuple(calibrations)
    yield "\n## Beside other tools\n"
    yield f"Median / mean %. {reference.note}\n"
    yield "| quantity | " + " | ".join([*(f"`{fit.name}`" for fit in fits), *tools]) + " |"
    yield "|---" * (1 + len(fits) + len(tools)) + "|"
    named = {figure.rpartition("_")[0] for group in tools.values() for figure in group}
    for quantity in (name for name in _SHOWN if name in named):
        own = [_pair(fit.errors[quantity].median, fit.errors[quantity].mean) if quantity in fit.errors else "" for fit in fits]
        theirs = [_pair(*(_share(group, quantity, statistic) for statistic in ("median", "mean"))) for group in tools.values()]
        yield f"| {QUANTITIES[quantity]} | " + " | ".join([*own, *theirs]) + " |"
    sources = sorted({figure.source for group in tools.values() for figure in group.values() if figure.source})
    notes = sorted({f"{name}: {figure.note}" for name, group in tools.items() for figure in group.values() if figure.note})
    yield "\nSource of the others' figures: " + ", ".join(f"`{source}`" for source in sources) + ". " + "; ".join(notes) + "."


def _share(group: Mapping[str, Any], quantity: str, statistic: str) -> str | float | None:
    """A figure of an error as a fraction; as a range where it is estimated; None where there is none."""
    figure = group.get(f"{quantity}_{statistic}")
    if figure is None:
        return None
    return figure.si if figure.si_low == figure.si_high else f"{100 * figure.si_low:.0f} to {100 * figure.si_high:.0f}"


def _pair(*shares: str | float | None) -> str:
    """Median and mean in percent."""
    return " / ".join("-" if share is None else share if isinstance(share, str) else f"{100 * share:.1f}" for share in shares)


def _of(error: Array) -> str:
    """Median and mean of some errors, where they are enough to say so."""
    return _pair(float(np.median(error)), float(error.mean())) + f" ({len(error):,})" if len(error) >= _FEW else ""


def _pictures(rows: pd.DataFrame, pictures: Mapping[str, str]) -> Iterator[str]:
    """The drawings, each with what it shows in words."""
    yield "\n## Predicted against measured"
    for quantity, name in pictures.items():
        some = rows[rows["quantity"] == quantity]
        ratio = some["predicted"].to_numpy(dtype=float) / some["value"].to_numpy(dtype=float)
        within = np.mean(np.abs(np.log(ratio)) <= np.log(2.0))
        text = f"Predicted against measured {QUANTITIES[quantity]}, {len(some):,} rows by kind of load, {100 * within:.0f} % of them within a factor of two"
        yield f"\n![{text}]({name})"


def _reachable(rows: pd.DataFrame, reference: Reference) -> Iterator[str]:
    """What predictors could reach that know more, or less, than the published labels."""
    yield "\n## What the published labels allow\n"
    yield from _REACHABLE.splitlines()
    yield ""
    yield "| | as predicted | goal | repeats | whatever release | " + " | ".join(f"offset: {name}" for name in floors.ORACLES) + " |"
    yield "|---" * (5 + len(floors.ORACLES)) + "|"
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(["quantity", "load"], sort=True)
    for (quantity, load), some in groups:
        if len(some) < _MANY:
            continue
        error = np.abs(some["predicted"].to_numpy(dtype=float) / some["value"].to_numpy(dtype=float) - 1.0)
        goals = reference.groups.get(_GOAL + load, {})
        goal = [_share(goals, quantity, statistic) for statistic in ("median", "mean")]
        oracles = [_of(floors.errors_after_offset(some, by)) for by in floors.ORACLES.values()]
        cells = [_of(error), "" if goal == [None, None] else _pair(*goal), _of(floors.errors_of_repeats(some))]
        yield f"| {QUANTITIES[quantity]}, {load} | " + " | ".join([*cells, _of(floors.errors_of_repeats(some, any_release=True)), *oracles]) + " |"


def _labels(rows: pd.DataFrame) -> Iterator[str]:
    """Errors where a label is published and where it is not."""
    yield "\n### Labels that only some sources publish\n"
    yield "Median / mean % (rows) of rows that publish a label and of those that do not. They differ in more than the label: a hint of what it would"
    yield "unlock, no proof.\n"
    yield "| label | of | published | not published |\n|---|---|---|---|"
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(["quantity", rows["load"].str.partition("-")[0]], sort=True)
    for (quantity, load), some in groups:
        for label, known, unknown in floors.errors_by_label(some):
            yield f"| {label} | {QUANTITIES[quantity]}, {load} | {_of(known)} | {_of(unknown)} |"


def _fit(calibration: Calibration) -> Iterator[str]:
    yield f"\n**{calibration.title}** (`{calibration.name}`): {calibration.fitted_on}.\n"
    yield "| quantity | rows | median % | mean % | 90th % |\n|---|---|---|---|---|"
    for name, error in calibration.errors.items():
        yield f"| {QUANTITIES.get(name, name)} | {error.rows:,} | {100 * error.median:.1f} | {100 * error.mean:.1f} | {100 * error.p90:.1f} |"
    yield "\nThese are the plain rows that the fit is made on; the tables below hold every row that is predicted, odd ones too."


def _table(title: str, rows: pd.DataFrame, by: list[str]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield _HEAD.format("")
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(by, sort=True)
    for (quantity, level), group in groups:
        if len(group) >= _FEW:
            found = errors(*(group[name].to_numpy(dtype=float) for name in ("value", "predicted", "predicted_low90", "predicted_high90")))
            yield f"| {QUANTITIES[quantity]}, {level} | {_cells(found)} |"


def _cells(found: dict[str, Any]) -> str:
    covered = found["coverage_90"]
    shares = [f"{100 * found[name]:.1f}" for name in ("median_ape", "mape", "p90_ape", "bias")]
    return " | ".join([f"{found['n']:,}", *shares, "" if covered is None else f"{100 * covered:.0f} %"])


def _coverage(rows: pd.DataFrame) -> Iterator[str]:
    """Coverage of each group by the width that the other groups alone would give."""
    yield "\n## Intervals of unseen groups\n"
    yield "A group's rows within the width that the rows of all other groups, alike in load and quantity, would give.\n"
    yield "| | rows | within % |\n|---|---|---|"
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(["quantity", "load"], sort=True)
    for (quantity, load), table in groups:
        error = np.abs(np.log(table["value"].to_numpy(dtype=float) / table["predicted"].to_numpy(dtype=float)))
        group = (table["model_name"] + table["accelerator_name"]).to_numpy()
        inside = [error[group == name] <= np.quantile(error[group != name], 0.9) for name in set(group.tolist()) if (group != name).sum() >= _FEW]
        if inside and len(table) >= _FEW:
            share = np.concatenate(inside)
            yield f"| {QUANTITIES[quantity]}, {load} | {len(share):,} | {100 * share.mean():.0f} |"


def _parameters(result: Calibrated) -> Iterator[str]:
    """Whether intervals are better where the parameters' covariance widens them."""
    yield "\n### What the parameters' own uncertainty adds\n"
    yield "Deviation, in percent, of left-out rows from their predictions, and of the predictions by the covariance of the parameters; and how much of unseen"
    yield "groups lies within a width that is the same for all rows, and within one that grows with the row's own variance.\n"
    yield "| | rows | rows' deviation | parameters' deviation | within, one width % | within, own width % |\n|---|---|---|---|---|---|"
    for calibration, (problem, judged) in zip(result.calibrations, result.fits, strict=True):
        error = np.abs(problem.measured - judged.left_out)
        for quantity in sorted(set(problem.quantity.tolist())):
            some = (problem.quantity == quantity) & np.isfinite(error)
            if some.sum() >= _MANY:
                own = judged.variance[some]
                one, grown = (floors.coverage_of_unseen(error[some], variance, problem.groups[some]) for variance in (0.0 * own, own))
                deviations = f"{100 * np.median(error[some]) / floors.MEDIAN_OF_NORMAL:.1f} | {100 * np.sqrt(np.median(own)):.1f}"
                yield f"| {QUANTITIES[quantity]}, `{calibration.name}` | {some.sum():,} | {deviations} | {100 * one:.1f} | {100 * grown:.1f} |"


def _anchored(calibrations: Iterable[Calibration]) -> Iterator[str]:
    """What measurements of one's own leave of the intervals."""
    yield "\n### With measurements of one's own\n"
    yield "The factor that bounds 90 %, and what an anchor leaves of it after so many rows of one replica that scatter as replicas here do; from the scatter of"
    yield "left-out rows within replicas. Never wider than without, unless one's own rows scatter further than that.\n"
    yield "| | without | " + " | ".join(f"{count} row{'s' if count > 1 else ''}" for count in _ANCHORS) + " |"
    yield "|---" * (2 + len(_ANCHORS)) + "|"
    for calibration in calibrations:
        for name, scatter in calibration.anchoring.items():
            before = getattr(calibration.spreads["seen"], name).si
            after = [min(before, math.exp(half_width(scatter, scatter.within.si, count))) for count in _ANCHORS]
            yield f"| {name.replace('_', ' ')}, `{calibration.name}` | {before:.2f} | " + " | ".join(f"{factor:.2f}" for factor in after) + " |"


def _worst(rows: pd.DataFrame) -> Iterator[str]:
    yield "\n## The worst rows\n"
    yield "The largest error of each model, accelerator and engine, for the ten worst of them; and what the measurements themselves say about it, by"
    yield "Little's law, by other rows of the same labels and by other loads of the same sweep.\n"
    yield "| model | accelerator | engine | load | metric | measured | predicted | found |\n|---|---|---|---|---|---|---|---|"
    error = np.abs(np.log(rows["predicted"].to_numpy(dtype=float) / rows["value"].to_numpy(dtype=float)))
    ranked = rows.assign(error=error).sort_values("error", ascending=False).drop_duplicates(["model_name", "accelerator_name", "engine"])
    for row in ranked.head(_WORST).to_dict("records"):
        names = f"{row['model_name']} | {row['accelerator_name']} | {row['engine']} | {row['load']}"
        yield f"| {names} | {row['metric']} | {row['value']:.4g} | {row['predicted']:.4g} | {cause(row, rows)} |"


def _simulated(whole: Report) -> Iterator[str]:
    """Errors of the rows that only the simulator answers, which no fit is made on."""
    yield "\n## By the simulator\n"
    yield from _BY_SIMULATOR.splitlines()
    rows = whole.rows[whole.rows["simulated"]]
    rows = rows.assign(source=rows["source"].map(_short), load=rows["load"].map(lambda load: _LOADS.get(load, load)))
    done = rows[rows["skipped_reason"].isna()]
    yield f"\n{len(done):,} of {len(rows):,} such rows are predicted.\n"
    yield _HEAD.format("source, load, metric")
    groups: Iterable[tuple[Any, pd.DataFrame]] = done.groupby(["source", "load", "metric"], sort=True)
    for (source, load, metric), group in groups:
        found = errors(*(group[name].to_numpy(dtype=float) for name in ("value", "predicted", "predicted_low90", "predicted_high90")))
        yield f"| {source}, {load}, {metric} | {_cells(found)} |"
    yield "\nThe others:\n\n| rows | reason |\n|---|---|"
    yield from (f"| {count:,} | {reason} |" for reason, count in rows["skipped_reason"].value_counts().items())
    yield from _within_limits(rows)


def _short(source: str) -> str:
    """A source without its version, so that its rounds stand together."""
    return re.sub(r" v[\d.]+$", "", source)


def _within_limits(rows: pd.DataFrame) -> Iterator[str]:
    """Of benchmarks that raise their rate to the limits of 99th percentiles: throughput, and how near each tail comes to its limit."""
    yield "\n### The largest rate within limits of 99th percentiles\n"
    yield from _RAISED.splitlines()
    yield "\n| | rows | median % | mean % | bias % | first tokens: measured | where carried: predicted | tokens: measured | where carried: predicted |"
    yield "|---" * 9 + "|"
    limited = rows[np.isfinite(rows["ttft_limit_ms"]) & rows["metric"].isin(("output_tok_s", "ttft_ms_p99", "tpot_ms_p99"))]
    groups: Iterable[tuple[Any, pd.DataFrame]] = limited.groupby(["model_name", "accelerator_name", "ttft_limit_ms", "tpot_limit_ms"], sort=True)
    for name, group in (*groups, ((), limited)):
        raised = group[(group["metric"] == "output_tok_s") & group["skipped_reason"].isna()]
        if not len(raised):
            continue
        found = errors(*(raised[column].to_numpy(dtype=float) for column in ("value", "predicted", "predicted_low90", "predicted_high90")))
        title = f"{name[0]} on {name[1]}, {name[2]:g} and {name[3]:g} ms" if name else "all"
        shares = [f"{100 * float(found[key] or 0.0):.1f}" for key in ("median_ape", "mape", "bias")]
        yield f"| {title} | {len(raised)} | " + " | ".join([*shares, *_tails(group)]) + " |"


def _tails(group: pd.DataFrame) -> Iterator[str]:
    """Medians of 99th percentiles over their limits, measured and, where the rate is carried, predicted."""
    for kind in ("ttft", "tpot"):
        some = group[group["metric"] == f"{kind}_ms_p99"]
        for column in ("value", "predicted"):
            share = (some[column] / some[f"{kind}_limit_ms"]).dropna()
            yield f"{share.median():.2f} ({len(share)})" if len(share) else ""


def _skipped(report: Report) -> Iterator[str]:
    yield "\n## Left out, and assumed\n"
    summary = report.summary()
    yield f"{summary['predicted']:,} of {summary['rows']:,} rows are predicted. The rest:\n"
    yield "| rows | reason |\n|---|---|"
    yield from (f"| {count:,} | {reason} |" for reason, count in summary["skipped"].items())
    yield "\nAssumed where a source is silent:\n"
    yield from (f"- {text}" for text in report.assumptions)


def _extrapolated(calibrations: Iterable[Calibration]) -> Iterator[str]:
    yield "\n## What is extrapolation"
    for calibration in calibrations:
        yield f"\n`{calibration.name}` was measured on {', '.join(calibration.measured)}."
        yield "To every other generation its parameters are carried over: wider intervals, and every result says `extrapolated`."
