"""Published measurements laid over a run's frontiers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from accelmodel.catalog.library import Library
from accelmodel.numbers import number
from accelmodel.reports.charts import Chart, Series
from accelmodel.reports.content import Study
from accelmodel.reports.terminal import with_unit
from accelmodel.studies.measured_frontier import Measured, measured_frontier

_SPEED = "output_tokens_per_s_per_user"
_NAMES = {"Cost against speed": "cost_usd_per_mtok", "Throughput against speed": "output_tokens_per_s_per_accelerator"}


def overlaid(studies: Sequence[Study], measured: Path | str, catalog: Library | None = None) -> tuple[tuple[Study, ...], str]:
    """Studies whose frontiers show the measurements of their region, and how many there are, in words."""
    done, count = [], 0
    for study in studies:
        if not any(_name(chart) for chart in study.charts):
            done.append(study)
            continue
        found = measured_frontier(measured, study.rows(), catalog)
        count += len(found)
        done.append(dataclasses.replace(study, charts=tuple(_with(chart, found) for chart in study.charts)))
    region = "same model, accelerator and dtype of the weights, lengths within a factor of 1.5"
    return tuple(done), f"Measured runs of {Path(measured).name} in the region of a frontier ({region}): {count}."


def _name(chart: Chart) -> str | None:
    return next((name for title, name in _NAMES.items() if chart.title.startswith(title)), None)


def _with(chart: Chart, found: Sequence[Measured]) -> Chart:
    name = _name(chart)
    if name is None:
        return chart
    series = list(chart.series)
    for case in dict.fromkeys(one.case for one in found):
        some = [one for one in found if one.case == case and getattr(one, name) is not None]
        if some:
            words = [_told(one, name) for one in some]
            series.append(Series(f"{case}: measured", [getattr(one, _SPEED) for one in some], [getattr(one, name) for one in some], words, dots=True))
    if len(series) == len(chart.series):
        return chart
    cost = " Measured runs are priced at the case's own hourly cost and occupancy." if name == "cost_usd_per_mtok" else ""
    return dataclasses.replace(chart, caption=f"{chart.caption} Open symbols: published measurements.{cost}", series=tuple(series))


def _told(one: Measured, name: str) -> str:
    lines = [f"{one.case}: measured", f"{with_unit(name, getattr(one, name))}", f"{number(one.output_tokens_per_s_per_user)} tokens/s per user"]
    lines += [f"{number(one.accelerators)} accelerators, {number(one.input_tokens)} in, {number(one.output_tokens)} out, {one.engine}", one.source]
    return "\n".join(lines)
