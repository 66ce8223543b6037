"""How accurate the engine is on groups that its fit did not see, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from accelmodel.catalog.calibrations import Calibration
from accelmodel.studies.calibrate import Calibrated
from accelmodel.studies.measured import METRICS
from accelmodel.studies.validate import Report, errors

_SHOWN = ("tpot_ms", "itl_ms", "ttft_ms", "output_tok_s", "e2e_ms", "power_w")
_TITLES = {
    "tpot_ms": "time per output token",
    "itl_ms": "time between tokens",
    "ttft_ms": "time to first token",
    "output_tok_s": "output tokens per second",
    "e2e_ms": "request latency",
    "power_w": "power of the accelerators",
}
_HEAD = "| {} | rows | median % | mean % | 90th % | bias % | in the 90 % interval |\n|---|---|---|---|---|---|---|"
_WORST = 10
_FEW = 5  # rows below which a level is not shown


def page(result: Calibrated) -> str:
    """The page."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Calibrated) -> Iterator[str]:
    report = result.left_out
    rows = report.predicted.assign(quantity=report.predicted["metric"].map(METRICS))
    rows = rows[rows["quantity"].isin(_SHOWN)]
    yield "# Accuracy"
    yield ""
    yield "Written by `accelmodel calibrate MEASURED --output DIR --report FILE`. Every prediction below is made by a fit that did not see the row's group (a"
    yield "model on an accelerator): groups are left out whole, an eighth at a time. Errors are |predicted / measured - 1|; bias is the median signed error."
    yield "\nNot blind where a calibration's priors, or the model's terms, were chosen while looking at the same measurements, as the shipped ones were: other"
    yield "data will be worse. Intervals are the residuals of left-out groups by kind of load, so that over all such rows they cover nine tenths by"
    yield "construction; what they cover of a group that played no part in them stands below."
    for calibration in result.calibrations:
        yield from _fit(calibration)
    yield from _table("By what is measured, and how it is loaded", rows, ["quantity", "load"])
    for title, column in (("By accelerator", "accelerator_name"), ("By model", "model_name"), ("By serving engine", "engine_name")):
        yield from _table(title, rows, ["quantity", column])
    yield from _coverage(rows)
    yield from _worst(rows)
    yield from _skipped(report)
    yield from _extrapolated(result.calibrations)


def _fit(calibration: Calibration) -> Iterator[str]:
    yield f"\n**{calibration.title}** (`{calibration.name}`): {calibration.fitted_on}.\n"
    yield "| quantity | rows | median % | mean % | 90th % |\n|---|---|---|---|---|"
    for name, error in calibration.errors.items():
        yield f"| {_TITLES.get(name, name)} | {error.rows:,} | {100 * error.median:.1f} | {100 * error.mean:.1f} | {100 * error.p90:.1f} |"
    yield "\nThese are the plain rows that the fit is made on; the tables below hold every row that is predicted, odd ones too."


def _table(title: str, rows: pd.DataFrame, by: list[str]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield _HEAD.format("")
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(by, sort=True)
    for (quantity, level), group in groups:
        if len(group) >= _FEW:
            found = errors(*(group[name].to_numpy(dtype=float) for name in ("value", "predicted", "predicted_low90", "predicted_high90")))
            yield f"| {_TITLES[quantity]}, {level} | {_cells(found)} |"


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
            yield f"| {_TITLES[quantity]}, {load} | {len(share):,} | {100 * share.mean():.0f} |"


def _worst(rows: pd.DataFrame) -> Iterator[str]:
    yield "\n## The worst rows\n"
    yield "The largest error of each model, accelerator and engine, for the ten worst of them.\n"
    yield "| model | accelerator | engine | load | metric | measured | predicted | suspected |\n|---|---|---|---|---|---|---|---|"
    error = np.abs(np.log(rows["predicted"].to_numpy(dtype=float) / rows["value"].to_numpy(dtype=float)))
    ranked = rows.assign(error=error).sort_values("error", ascending=False).drop_duplicates(["model_name", "accelerator_name", "engine"])
    for row in ranked.head(_WORST).to_dict("records"):
        names = f"{row['model_name']} | {row['accelerator_name']} | {row['engine']} | {row['load']}"
        yield f"| {names} | {row['metric']} | {row['value']:.4g} | {row['predicted']:.4g} | {_cause(row)} |"


def _cause(row: dict[Any, Any]) -> str:
    """What is thought to be behind an error; the label that would tell."""
    if row["load"].startswith("pools"):
        return "sizes of the pools, or drafted tokens, are not published"
    if row["quantity"] == "ttft_ms":
        return "queueing at this load: the memory left for the cache decides, and its dtype is not published" if row["predicted"] > row["value"] else "waiting"
    if row["load"] == "wave":
        return "an old release of the engine"
    return "settings that the source does not print (drafted tokens, captured graphs, limits of the batch)"


def _skipped(report: Report) -> Iterator[str]:
    yield "\n## Left out, and assumed\n"
    summary = report.summary()
    yield f"{summary['predicted']:,} of {summary['rows']:,} rows are predicted. The rest:\n"
    yield "| rows | reason |\n|---|---|"
    yield from (f"| {count:,} | {reason} |" for reason, count in summary["skipped"].items())
    yield "\nAssumed where a source is silent:\n"
    yield from (f"- {text}" for text in report.assumptions)


def _extrapolated(calibrations: Iterable[Calibration]) -> Iterator[str]:
    yield "\n## What is extrapolation\n"
    for calibration in calibrations:
        if calibration.extrapolated:
            yield f"`{calibration.name}` carries its parameters over to {', '.join(calibration.extrapolated)}, where nothing was measured: wider intervals, and"
            yield "every result says `extrapolated`."
