"""Published measurements laid over a run's frontiers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelmodel.catalog.library import Library
from accelmodel.numbers import number
from accelmodel.reports.charts import Chart, Series
from accelmodel.reports.content import Study
from accelmodel.reports.terminal import label, with_unit
from accelmodel.studies.measured_frontier import REGION, WITHIN, Measured, MeasuredRun, Published

MOST = 200  # dots of a chart
_SPEED, _THROUGHPUT = "output_tokens_per_s_per_user", "output_tokens_per_s_per_accelerator"
_NAMES = {"Cost against speed": "cost_usd_per_mtok", "Throughput against speed": _THROUGHPUT}
_READ = ("case", "fits", "cost_usd_per_mtok", "replica_cost_usd_per_h", "accelerators", "occupancy", *REGION)
_ALIKE = f"same model, accelerator and dtype of the weights, lengths within a factor of {WITHIN:g}"
_PATH = 60  # characters of a place in a repository that are shown: the last ones


def overlaid(studies: Sequence[Study], measured: Path | str | None = None, catalog: Library | None = None) -> tuple[tuple[Study, ...], list[str]]:
    """Studies whose frontiers show the measurements of their region, and in words how many there are, by whom; None: the catalogue's measurements.

    Without a frontier nothing is read, and nothing said. InputError where the file cannot be read.
    """
    if not any(_name(chart) for study in studies for chart in study.charts):
        return tuple(studies), []
    published = Published(measured, catalog)
    done: list[Study] = []
    runs: dict[MeasuredRun, None] = {}
    said: list[str] = []
    for study in studies:
        drawn: tuple[Chart, ...] = study.charts
        if any(_name(chart) for chart in drawn):
            table = study.table
            drawn, found = over(drawn, table.select([name for name in _READ if name in table.column_names]).to_pylist(), published)
            runs |= {one.run: None for one in found}
            left_out = [label(name)[0] for name in REGION if name not in table.column_names]
            said += [f"{study.name}: the table leaves out {', '.join(left_out)}, by which published measurements are found."] if left_out else []
        done.append(dataclasses.replace(study, charts=drawn))
    return tuple(done), [in_words(list(runs), published.path), *said]


def over(drawn: Sequence[Chart], rows: Sequence[Mapping[str, Any]], published: Published, most: int = MOST) -> tuple[tuple[Chart, ...], list[Measured]]:
    """Charts of a points study, the measurements of its region over its frontiers, and those measurements; at most so many a chart, the nearest first."""
    found = published.frontier(rows) if any(_name(chart) for chart in drawn) else []
    return tuple(_with(chart, found, most) for chart in drawn), found


def in_words(runs: Sequence[MeasuredRun], path: Path) -> str:
    """How many measured runs lie in the region of the frontiers, by which sources, or that none does."""
    if not runs:
        return f"No published measurement in {path.name} lies in the region of a frontier ({_ALIKE})."
    sources = "; ".join(f"{name or 'no source'}: {count:,}" for name, count in Counter(run.source for run in runs).most_common())
    derived = sum(run.is_derived for run in runs)
    follows = f" Of {derived:,} the throughput is derived from latencies and concurrency (Little's law)." if derived else ""
    return f"Measured runs of {path.name} in the region of a frontier ({_ALIKE}): {len(runs):,}. By source: {sources}.{follows}"


def _name(chart: Chart) -> str | None:
    return next((name for title, name in _NAMES.items() if chart.title.startswith(title)), None)


def _with(chart: Chart, found: Sequence[Measured], most: int) -> Chart:
    name = _name(chart)
    every: dict[str, list[Measured]] = {}
    for one in found:
        if name is not None and getattr(one, name) is not None:
            every.setdefault(one.case, []).append(one)
    if name is None or not every:
        return chart
    each = max(most // len(every), 1)
    added = tuple(_series(chart, case, name, some[:each]) for case, some in every.items())
    shown, count = sum(len(one.x) for one in added), sum(map(len, every.values()))
    which = f", of {count:,} in the region the {shown:,} nearest in lengths" if shown < count else ""
    cost = " They are priced at the case's own hourly cost and occupancy." if name == "cost_usd_per_mtok" else ""
    return dataclasses.replace(
        chart, caption=f"{chart.caption} Open symbols: published measurements{which}, whatever engine and cut.{cost}", series=(*chart.series, *added)
    )


def _series(chart: Chart, case: str, name: str, some: Sequence[Measured]) -> Series:
    of = next((place for place, one in enumerate(chart.series) if one.name == case or one.name.startswith(f"{case}, ")), None)
    words = [_told(one, name) for one in some]
    return Series(f"{case}: measured", [getattr(one, _SPEED) for one in some], [getattr(one, name) for one in some], words, dots=True, of=of)


def _told(one: Measured, name: str) -> str:
    run = one.run
    lengths = f"{number(run.input_tokens)} in, {number(run.output_tokens)} out{' (assumed)' if run.is_assumed else ''}"
    ran = f"{number(run.accelerators)} accelerators, {lengths}, {run.engine}"
    lines = [f"{one.case}: measured", f"{number(getattr(one, _SPEED))} tokens/s per user"]
    lines += [] if name == _THROUGHPUT else [with_unit(name, getattr(one, name))]
    lines.append(with_unit(_THROUGHPUT, getattr(one, _THROUGHPUT)) + (" per accelerator, derived (Little's law)" if run.is_derived else " per accelerator"))
    lines += [f"{ran}, prefill apart" if run.mode == "disaggregated" else ran, run.source, _place(run)]
    return "\n".join(filter(None, lines))


def _place(run: MeasuredRun) -> str:
    """Where a run stands: repository at its commit, and the end of the path in it."""
    repository, _, path = run.where.partition(":")
    version = f" at {run.version[:10]}" if run.version else ""
    return f"{repository}{version}" + (f": {'…' if len(path) > _PATH else ''}{path[-_PATH:]}" if path else "")
