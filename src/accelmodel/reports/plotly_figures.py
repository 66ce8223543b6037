"""Charts as Plotly draws them: plain dicts of `data` and `layout`, told apart by colour, dash and symbol together."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from accelmodel.reports.charts import LEVELS, Axis, Chart, Series

# Okabe and Ito's colours, which readers who see fewer colours tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
_NEUTRAL = "#808080"  # to be seen on white and on black
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_PATTERNS = ("", "/", ".", "x", "-", "|")
_ROW_PX, _LEAST_PX, _PLAIN_PX, _LEGEND_ROW_PX = 26, 150, 400, 21
_WRAP = 26


def figure(chart: Chart) -> dict[str, Any]:
    """A chart as Plotly's `data` and `layout`."""
    across = chart.kind in ("bar", "range", "tornado")
    layout: dict[str, Any] = {
        "xaxis": _axis(chart.x),
        "yaxis": _axis(chart.y),
        "height": _height(chart) + (_LEGEND_ROW_PX * len(chart.series) if len(chart.series) > 1 else 0),
        "margin": {"l": 60, "r": 16, "t": 12, "b": 50},
        "hovermode": "closest",
        "showlegend": len(chart.series) > 1,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "font": {"size": 13},
    }
    if across:
        layout["yaxis"] |= {"type": "category", "autorange": "reversed", "categoryorder": "array", "categoryarray": _categories(chart)}
        layout["barmode"] = "overlay" if chart.is_split or chart.kind == "tornado" else "group"
    if chart.kind in ("stack", "waterfall"):
        layout["xaxis"]["type"] = "category"
        layout["barmode"] = "relative"
    mark = chart.centre if chart.kind == "tornado" else chart.mark
    if mark is not None:
        line = {"dash": "dot", "width": 1.5, "color": _NEUTRAL}
        layout["shapes"] = [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": mark, "x1": mark, "line": line}]
    return {"data": [trace for place, one in enumerate(chart.series) for trace in _TRACES[chart.kind](one, place, chart)], "layout": layout}


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {"title": {"text": html.escape(axis.title)}, "automargin": True, "zeroline": True}
    if axis.is_log:
        found |= {"type": "log", "dtick": 1, "tickformat": "~s"} if axis.unit.startswith("FLOP") else {"type": "log", "dtick": "D2", "tickformat": ",~r"}
    if axis.is_share:
        found |= {"tickformat": ".0%", "title": {"text": html.escape(axis.words)}}
    elif axis.unit == "s":
        found |= {"tickformat": "~s", "ticksuffix": "s"}
    else:
        found["exponentformat"] = "B"  # thousands, millions, billions, as the tables say
    return found


def _height(chart: Chart) -> int:
    if chart.kind not in ("bar", "range", "tornado"):
        return _PLAIN_PX
    bars = 1 if chart.is_split or chart.kind != "bar" else len(chart.series)
    return max(_LEAST_PX, 90 + _ROW_PX * len(_categories(chart)) * bars)


def _categories(chart: Chart) -> list[str]:
    names = list(dict.fromkeys(_wrapped(name) for one in chart.series for name in one.y))
    if chart.is_split:
        value = {_wrapped(name): x for one in chart.series for name, x in zip(one.y, one.x, strict=True)}
        names.sort(key=lambda name: -value[name])
    return names


def _wrapped(name: object) -> str:
    """A category's name in lines that a narrow screen holds, safe for Plotly, which reads a few tags."""
    lines, line = [], ""
    for word in str(name).split(" "):
        if line and len(line) + len(word) >= _WRAP:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join(html.escape(one) for one in (*lines, line))


def _told(words: Sequence[str]) -> dict[str, Any]:
    return {"text": [html.escape(one).replace("\n", "<br>") for one in words], "hovertemplate": "%{text}<extra></extra>", "textposition": "none"}


def _line(one: Series, place: int, chart: Chart) -> list[dict[str, Any]]:
    found = _told(one.words)
    del found["textposition"]
    place = place if one.of is None else one.of
    many = len(one.x) > 40
    mode = "markers" if one.dots else "lines" if many or chart.kind == "scatter" else "lines+markers"
    return [
        found
        | {
            "type": "scatter",
            "mode": mode,
            "name": html.escape(one.name),
            "x": list(one.x),
            "y": list(one.y),
            "line": {"color": colour(place), "dash": _DASHES[(place if many else place // len(COLOURS)) % len(_DASHES)], "width": 2},
            "marker": {
                "color": colour(place),
                "symbol": _SYMBOLS[place % len(_SYMBOLS)] + ("-open" if one.dots else ""),
                "size": 10 if one.dots else 8,
                "line": {"width": 2},
            },
        }
    ]


def colour(place: int) -> str:
    """The colour of a chart's series by its place."""
    return COLOURS[place % len(COLOURS)]


def _bar(one: Series, place: int, _chart: Chart) -> list[dict[str, Any]]:
    found = _told(one.words) | {"type": "bar", "orientation": "h", "name": html.escape(one.name), "x": list(one.x), "y": [_wrapped(name) for name in one.y]}
    found["marker"] = _filled(place)
    found |= _whiskers(one)
    return [found]


def _whiskers(one: Series) -> dict[str, Any]:
    """The range of each value; Plotly takes lengths."""
    if one.low is None or one.high is None:
        return {}
    up = [None if value is None or end is None else end - value for value, end in zip(one.x, one.high, strict=True)]
    down = [None if value is None or end is None else value - end for value, end in zip(one.x, one.low, strict=True)]
    return {"error_x": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.5, "width": 4}}


def _filled(place: int) -> dict[str, Any]:
    return {
        "color": colour(place),
        "pattern": {"shape": _PATTERNS[place % len(_PATTERNS)], "size": 7, "solidity": 0.2, "fillmode": "overlay", "fgcolor": "#ffffff"},
    }


def _stacked(one: Series, place: int, _chart: Chart) -> list[dict[str, Any]]:
    found = _told(one.words) | {"type": "bar", "name": html.escape(one.name), "x": [_wrapped(name) for name in one.x], "y": list(one.y)}
    return [found | {"marker": _filled(place)}]


def _fall(one: Series, _place: int, _chart: Chart) -> list[dict[str, Any]]:
    measures = ["absolute" if place == 0 else "total" if name in LEVELS else "relative" for place, name in enumerate(one.x)]
    return [
        _told(one.words)
        | {
            "type": "waterfall",
            "x": [_wrapped(name) for name in one.x],
            "y": list(one.y),
            "measure": measures,
            "decreasing": {"marker": {"color": COLOURS[1]}},
            "increasing": {"marker": {"color": COLOURS[2]}},
            "totals": {"marker": {"color": COLOURS[0]}},
        }
    ]


def _range(one: Series, place: int, _chart: Chart) -> list[dict[str, Any]]:
    """A thick line from end to end, a dot in the middle."""
    names = [_wrapped(name) for name in one.y]
    assert one.low is not None
    assert one.high is not None
    spans: dict[str, list[Any]] = {"x": [], "y": []}
    for name, low, high in zip(names, one.low, one.high, strict=True):
        spans["x"] += [low, high, None]
        spans["y"] += [name, name, None]
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "marker": {"size": 10, "opacity": 0},  # of no sight: an axis leaves room for markers, and none for lines
        "line": {"color": colour(place), "width": 10},
        "hoverinfo": "skip",
        "showlegend": False,
        "opacity": 0.5,
    } | spans
    dot = _told(one.words) | {"type": "scatter", "mode": "markers", "name": html.escape(one.name), "x": list(one.x), "y": names}
    dot["marker"] = {"color": colour(place), "symbol": "line-ns-open", "size": 16, "line": {"width": 3}}
    del dot["textposition"]
    return [line, dot]


def _swing(one: Series, place: int, chart: Chart) -> list[dict[str, Any]]:
    """A thick line from the centre to the end, so that no bar starts at an unrelated zero."""
    if chart.centre is None:
        return _bar(one, place, chart)
    names = [_wrapped(name) for name in one.y]
    told = [html.escape(words).replace("\n", "<br>") for words in one.words]
    found: Mapping[str, Any] = {"type": "bar", "orientation": "h", "name": html.escape(one.name), "base": chart.centre, "y": names, "marker": _filled(place)}
    return [
        {
            **found,
            "x": [None if value is None else value - chart.centre for value in one.x],
            "text": told,
            "hovertemplate": "%{text}<extra></extra>",
            "textposition": "none",
        }
    ]


_TRACES = {"line": _line, "scatter": _line, "bar": _bar, "stack": _stacked, "waterfall": _fall, "range": _range, "tornado": _swing}
