"""Predicted against measured values as a drawing: one small SVG of logarithmic axes, the same bytes for the same numbers."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from accelmodel.errors import InputError

# Okabe and Ito's colours, which readers who see fewer colours tell apart too; the shape of the line in the legend is a dot for all.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999")
_STYLE = {
    "svg.hashsalt": "accelmodel",  # element names follow from the drawing, not from chance
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "path.simplify": False,  # a dot has hardly a length, and simplification may drop it
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_SIZE_IN = (5.6, 5.0)
_DOT_PT = 2.4
_CELLS_PER_DECADE = 200  # dots closer than this are one dot: finer than the eye, and a third of the bytes
_FACTOR = 2.0


def need_matplotlib() -> None:
    """InputError where Matplotlib, an optional part of the installation, is absent."""
    if find_spec("matplotlib") is None:
        raise InputError("drawings need Matplotlib: pip install 'accelmodel[plots]'", key="--report")


def scatter(path: Path, rows: pd.DataFrame, colour_by: str, unit: str) -> Path:
    """Write predicted over measured values of `rows` (columns `value`, `predicted` and `colour_by`), with lines at equality and a factor of two off."""
    need_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        FigureCanvasSVG(figure)
        _draw(figure.add_subplot(), rows, colour_by, unit)
        part = path.with_name(path.name + ".part")
        figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
    part.replace(path)
    return path


def _draw(axes: Any, rows: pd.DataFrame, colour_by: str, unit: str) -> None:
    """Lines, then dots, one colour a level, the most frequent level first and undermost."""
    both = rows[["value", "predicted"]].to_numpy(dtype=float)
    ends = [float(both.min()) / 1.3, float(both.max()) * 1.3]
    for factor, width, label in ((1.0, 1.0, "equal"), (_FACTOR, 0.7, f"within a factor of {_FACTOR:g}"), (1.0 / _FACTOR, 0.7, None)):
        axes.plot(ends, [end * factor for end in ends], color="#666666", linewidth=width, linestyle="-" if factor == 1.0 else "--", label=label)
    for colour, level in zip(_COLOURS, rows[colour_by].value_counts().sort_index().sort_values(ascending=False, kind="stable").index, strict=False):
        _dots(axes, rows[rows[colour_by] == level], colour, str(level))
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel=f"measured, {unit}", ylabel=f"predicted, {unit}", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _place: f"{value:,.10g}")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _dots(axes: Any, rows: pd.DataFrame, colour: str, label: str) -> None:
    """Dots of one colour as a single path of very short lines with round ends: a third of the bytes of one marker each."""
    cells = {(_cell(x), _cell(y)) for x, y in zip(rows["value"].astype(float), rows["predicted"].astype(float), strict=True)}
    xs, ys = [], []
    for x, y in sorted(cells):
        xs += [10.0 ** ((x + end) / _CELLS_PER_DECADE) for end in (-0.2, 0.2)] + [math.nan]
        ys += [10.0 ** (y / _CELLS_PER_DECADE)] * 2 + [math.nan]
    axes.plot(xs, ys, color=colour, linewidth=_DOT_PT, solid_capstyle="round", label=f"{label} ({len(rows):,})")


def _cell(value: float) -> int:
    return round(math.log10(value) * _CELLS_PER_DECADE)
