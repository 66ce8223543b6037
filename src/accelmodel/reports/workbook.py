"""The report as a workbook: a sheet for every table, native charts, and the last steps of the money as live formulas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelmodel.errors import InputError
from accelmodel.reports.charts import Chart
from accelmodel.reports.content import Content, Listing, Study, is_known, is_number
from accelmodel.reports.csv_files import safe
from accelmodel.reports.formulas import Block, blocks
from accelmodel.reports.plotly_figures import COLOURS
from accelmodel.reports.terminal import label

_NAME_LENGTH = 31  # of a sheet, by Excel
_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_WIDEST, _NARROWEST, _MONEY_WIDTH = 48, 9, 18
_WIDE_NUMBER = 1e15  # from which on a number is shown with an exponent
_MOST_ROWS = 1_000_000  # Excel holds 1,048,576
_PAGE_COLUMNS = 20  # that one page across holds
_AXIS_FORMAT = '[>=1000000000]0.0,,,"B";[>=1000000]0.0,,"M";General'
_HEAD_PT = 45  # three lines of a head
_CHART_ROWS = 21  # of a sheet that a chart covers
_NATIVE = {"line": "scatter", "scatter": "scatter", "bar": "bar", "range": "bar", "tornado": "bar", "stack": "column", "waterfall": "column"}
FIXED = ("Answer", "Money", "Charts", "Chart data", "Metadata")
HEADED = 2  # rows of names and units above every table


def need_xlsxwriter() -> None:
    """InputError where XlsxWriter, an optional part of the installation, is absent."""
    if find_spec("xlsxwriter") is None:
        raise InputError("a workbook needs XlsxWriter: pip install 'accelmodel[report]'", key="--output")


def sheet_names(wanted: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A legal sheet name for each name: no sign that Excel forbids, 31 letters at most, none twice whatever the case.

    >>> sheet_names(["a/b", "A?B", "history"])
    {'a/b': 'a b', 'A?B': 'A B 2', 'history': 'history 2'}
    """
    used = {"history", *(name.casefold() for name in taken)}  # Excel keeps 'History' for itself
    found = {}
    for name in wanted:
        stem = _FORBIDDEN.sub(" ", name).strip().strip("'") or "table"
        legal, count = stem[:_NAME_LENGTH].rstrip(" '"), 1
        while legal.casefold() in used:
            count += 1
            legal = f"{stem[: _NAME_LENGTH - len(str(count)) - 1].rstrip()} {count}"
        used.add(legal.casefold())
        found[name] = legal
    return found


def number_format(unit: str, *, is_share: bool = False, is_whole: bool = False) -> str:
    """How a column of a unit is shown in full precision's place; optional decimals alone would leave whole numbers their point."""
    if is_share:
        return "0.0%"
    if is_whole:
        return "#,##0"
    return {"s": "0.0000", "USD/Mtok": "0.0000", "USD/h": "#,##0.000", "USD": "#,##0", "USD/year": "#,##0", "byte": "0.000E+00"}.get(unit, "#,##0.####")


def _as_wide_as(value: Any) -> str:
    """A text about as wide as a value is shown; a number that is too wide for its column would be shown as hashes."""
    if isinstance(value, str):
        return value
    return f"{value:,.4f}".rstrip("0") if is_number(value) and math.isfinite(value) and abs(value) < _WIDE_NUMBER else ""


def write_workbook(of: Content, path: Path) -> None:
    """Write a report as one workbook."""
    need_xlsxwriter()
    import xlsxwriter

    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "nan_inf_to_errors": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        _Writer(book, of).write()


class _Writer:
    """Writes the sheets of one book."""

    def __init__(self, book: Any, of: Content) -> None:
        self.book, self.of = book, of
        self.formats: dict[tuple[tuple[str, Any], ...], Any] = {}
        self.names = sheet_names([study.name for study in of.studies], (*FIXED, *(_sheet_of(listing) for listing in of.listings)))

    def write(self) -> None:
        """Answer first, then money, charts, a sheet a study, and what they rest on."""
        book = self.book
        book.set_properties({"title": self.of.title, "comments": str(dict(self.of.identity.rows))})
        self._answer(book.add_worksheet("Answer"))
        found = [block for study in self.of.studies for block in blocks(study)]
        if found:
            self._money(book.add_worksheet("Money"), found)
        drawn = [(study.name, chart) for study in self.of.studies for chart in study.charts]
        drawn += [("replica", chart) for chart in self.of.roofline[1] if chart.kind == "bar"] if self.of.roofline else []
        shown = book.add_worksheet("Charts") if drawn else None
        for study in self.of.studies:
            self._study(book.add_worksheet(self.names[study.name]), study)
        for listing in self.of.listings[:-1]:
            self._listing(book.add_worksheet(_sheet_of(listing)), listing)
        self._metadata(book.add_worksheet("Metadata"))
        if shown is not None:
            self._charts(shown, book.add_worksheet("Chart data"), drawn)

    def format(self, **keys: Any) -> Any:
        """A cell format, made once."""
        key = tuple(sorted(keys.items()))
        if key not in self.formats:
            self.formats[key] = self.book.add_format(keys)
        return self.formats[key]

    def _head(self, sheet: Any, row: int, heads: Sequence[str], units: Sequence[str]) -> None:
        bold = self.format(bold=True, text_wrap=True, valign="top", bottom=1)
        sheet.set_row(row, _HEAD_PT)
        for column, (head, unit) in enumerate(zip(heads, units, strict=True)):
            sheet.write_string(row, column, head, bold)
            sheet.write_string(row + 1, column, unit, self.format(italic=True, font_color="#57606A"))

    def _put(self, sheet: Any, row: int, column: int, value: Any, form: Any = None) -> None:
        """A value as it is: text never becomes a formula."""
        if value is None or value != value:
            sheet.write_blank(row, column, None, form)
        elif isinstance(value, bool):
            sheet.write_boolean(row, column, value, form)
        elif isinstance(value, (int, float)) and math.isfinite(value):
            sheet.write_number(row, column, value, form)
        else:
            sheet.write_string(row, column, str(safe(str(value))), form)

    def _answer(self, sheet: Any) -> None:
        sheet.set_column(0, 0, 120, self.format(text_wrap=True, valign="top"))
        said = [self.of.title, self.of.description, "", *self.of.told, "", "Assumptions that matter most"]
        said += [f"{rank}. {text} [{source}]" for rank, text, source in self.of.assumptions.rows[: self.of.assumption_count]]
        said += ["", *self.of.missing, "", *(f"{what}: {value}" for what, value in self.of.identity.rows)]
        for row, text in enumerate(said):
            bold = row == 0 or text == "Assumptions that matter most"
            self._put(sheet, row, 0, " ".join(text.split()) or None, self.format(bold=True, font_size=14 if row == 0 else 11) if bold else None)
        _on_paper(sheet)

    def _study(self, sheet: Any, study: Study) -> None:
        names = [*study.shown, *(name for name in study.table.column_names if name not in study.shown)]
        told = [study.described(name) for name in names]
        shares = [is_known(name) and label(name)[1] == "%" for name in names]
        self._head(
            sheet, 0, [words for words, _, _ in told], ["%" if share else "" if unit == "1" else unit for (_, unit, _), share in zip(told, shares, strict=True)]
        )
        rows, left = study.rows(_MOST_ROWS), max(study.table.num_rows - _MOST_ROWS, 0)
        for place, (name, (_, _, description)) in enumerate(zip(names, told, strict=True)):
            sheet.write_comment(0, place, f"{name}: {description}")
            sheet.set_column(place, place, self._width(told[place][0], [row[name] for row in rows[:200]]))
            is_whole = all(value == int(value) for value in (row[name] for row in rows) if is_number(value) and math.isfinite(value))
            form = self.format(num_format=number_format(told[place][1], is_share=shares[place], is_whole=is_whole))
            for at, row in enumerate(rows):
                self._put(sheet, at + HEADED, place, row[name], form)
        sheet.freeze_panes(HEADED, 1)
        if rows:
            sheet.autofilter(HEADED - 1, 0, HEADED - 1 + len(rows), len(names) - 1)
        for at, note in enumerate((*([f"{left:,} more rows are in the CSV report and in the run's folder."] if left else []), *study.notes)):
            self._put(sheet, HEADED + len(rows) + 1 + at, 0, f"Note: {note}")
        sheet.repeat_rows(0, HEADED - 1)
        sheet.repeat_columns(0)
        _on_paper(sheet, is_wide=len(names) > _PAGE_COLUMNS)

    @staticmethod
    def _width(head: str, values: Iterable[Any]) -> int:
        longest = max((len(_as_wide_as(value)) for value in values), default=0)
        return min(max(longest + 1, max(map(len, head.split()), default=0) + 2, _NARROWEST), _WIDEST)

    def _listing(self, sheet: Any, listing: Listing) -> None:
        units = listing.units or ("",) * len(listing.heads)
        self._head(sheet, 0, listing.heads, units)
        for at, row in enumerate(listing.rows):
            for place, value in enumerate(row):
                self._put(sheet, at + HEADED, place, value, self.format(num_format="0.0%") if units[place] == "%" else None)
        for place, head in enumerate(listing.heads):
            sheet.set_column(place, place, self._width(head, [str(row[place]) for row in listing.rows[:300]]))
        sheet.freeze_panes(HEADED, 0)
        if listing.note:
            self._put(sheet, HEADED + len(listing.rows) + 1, 0, listing.note)

    def _metadata(self, sheet: Any) -> None:
        self._head(sheet, 0, ("what", "value"), ("", ""))
        rows = [("title", self.of.title), ("description", self.of.description), *self.of.identity.rows, *(("note", words) for words in self.of.missing)]
        for study in self.of.studies:
            meta = (study.table.schema.metadata or {}).items()
            rows += [(f"{study.name}: {key.decode()}", value.decode()) for key, value in meta if key not in (b"pandas", b"ARROW:schema")]
        for at, (what, value) in enumerate(rows):
            self._put(sheet, at + HEADED, 0, what)
            self._put(sheet, at + HEADED, 1, value)
        sheet.set_column(0, 0, 40)
        sheet.set_column(1, 1, 90)
        sheet.freeze_panes(HEADED, 0)

    # Live formulas

    def _money(self, sheet: Any, found: Sequence[Block]) -> None:
        """Blocks of rows: what may be changed on yellow, formulas from it, and beside them what the engine found."""
        self._put(
            sheet, 0, 0, "Change what stands on yellow: costs, prices and margins follow. 'As computed' is what the engine found; at its inputs both are equal."
        )
        row = 2
        for block in found:
            row = self._block(sheet, block, row) + 2
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 24, _MONEY_WIDTH)
        sheet.freeze_panes(1, 1)
        _on_paper(sheet)

    def _block(self, sheet: Any, block: Block, top: int) -> int:
        self._put(sheet, top, 0, block.title, self.format(bold=True, font_size=12))
        self._head(sheet, top + 1, [cell.head for cell in block.columns], [cell.unit for cell in block.columns])
        for at, values in enumerate(block.rows):
            row = top + 1 + HEADED + at
            for place, (cell, value) in enumerate(zip(block.columns, values, strict=True)):
                keys: dict[str, Any] = {"num_format": cell.form} if cell.form else {}
                if cell.formula is not None and value is not None:
                    places = {one.key: f"{_letter(there)}{row + 1}" for there, one in enumerate(block.columns)}
                    sheet.write_formula(row, place, "=" + cell.formula.format(**places), self.format(**keys), value)
                    continue
                keys |= {"bg_color": "#FFF6CC", "border": 1, "border_color": "#D9C97A"} if cell.is_input and value is not None else {}
                self._put(sheet, row, place, value, self.format(**keys) if keys else None)
        return top + 1 + HEADED + len(block.rows)

    # Native charts

    def _charts(self, sheet: Any, data: Any, drawn: Sequence[tuple[str, Chart]]) -> None:
        row, column = 0, 0
        for number, (study, chart) in enumerate(drawn):
            native, row = self._native(chart, data, row, study)
            sheet.insert_chart(number // 2 * _CHART_ROWS, number % 2 * 10, native, {"description": chart.alternative, "x_scale": 1.25, "y_scale": 1.35})
        _on_paper(sheet)
        data.set_column(column, 30, 14)
        data.freeze_panes(0, 1)

    def _native(self, chart: Chart, data: Any, row: int, study: str) -> tuple[Any, int]:
        """A native chart over numbers that are written below `row`; returns it and the next free row."""
        kind = _NATIVE[chart.kind]
        native = self.book.add_chart({"type": kind, **_SUBTYPES.get(chart.kind, {})})
        self._put(data, row, 0, f"{study}: {chart.title}", self.format(bold=True))
        column = 0
        for place, (name, categories, values) in enumerate(_series_of(chart)):
            last = row + 2 + len(values)
            self._put(data, row + 1, column, name)
            self._put(data, row + 2, column, chart.y.title if chart.kind in _ACROSS else chart.x.title)
            self._put(data, row + 2, column + 1, chart.x.title if chart.kind in _ACROSS else chart.y.title)
            for at, (category, value) in enumerate(zip(categories, values, strict=True)):
                self._put(data, row + 3 + at, column, category)
                self._put(data, row + 3 + at, column + 1, value)
            ranges = {"categories": ["Chart data", row + 3, column, last, column], "values": ["Chart data", row + 3, column + 1, last, column + 1]}
            native.add_series({"name": ["Chart data", row + 1, column], **ranges, **_look(chart, kind, name, place)})
            column += 3
        native.set_title({"name": f"{study}: {chart.title}", "name_font": {"size": 11}, "overlay": False})
        across = chart.kind in _ACROSS
        value, other = (chart.x, chart.y) if across else (chart.y, chart.x)
        native.set_y_axis(_axis(other if across else value) | ({"reverse": True, "label_position": "low"} if across else {}))
        native.set_x_axis(
            _axis(value if across else other) | ({} if across else {"label_position": "low"}) | ({} if chart.centre is None else {"crossing": chart.centre})
        )
        if (len(chart.series) == 1 or chart.is_split) and chart.kind != "range":
            native.set_legend({"none": True})
        else:
            native.set_legend({"position": "bottom"})
        longest = max((len(values) for _, _, values in _series_of(chart)), default=0)
        return native, row + longest + 5


_ACROSS = ("bar", "range", "tornado")
_SUBTYPES = {"line": {"subtype": "straight_with_markers"}, "scatter": {"subtype": "straight_with_markers"}, "stack": {"subtype": "stacked"}}


def _look(chart: Chart, kind: str, name: str, place: int) -> dict[str, Any]:
    """Colour, line and markers of a native series; dots are joined by no line."""
    dots = next((one for one in chart.series if one.name == name and one.dots), None)
    colour = {"color": COLOURS[(place if dots is None or dots.of is None else dots.of) % len(COLOURS)]}
    if kind != "scatter":
        return {"fill": colour} | ({"overlap": 100} if chart.kind == "tornado" else {})
    if dots is None:
        return {"line": colour, "marker": {"type": "automatic"}}
    return {"line": {"none": True}, "marker": {"type": "circle", "border": colour, "fill": {"none": True}}}


def _series_of(chart: Chart) -> Iterator[tuple[str, Sequence[Any], Sequence[Any]]]:
    """Name, categories and values of each series; of a range its ends too. Series that share the categories out are one, as native ones have the same."""
    if chart.is_split:
        pairs = sorted(((name, value) for one in chart.series for name, value in zip(one.y, one.x, strict=True)), key=lambda pair: -pair[1])
        yield chart.x.words, [name for name, _ in pairs], [value for _, value in pairs]
        return
    for one in chart.series:
        if chart.kind == "range" and one.low is not None and one.high is not None:
            yield from ((name, one.y, values) for name, values in (("p10", one.low), ("p50", one.x), ("p90", one.high)))
        elif chart.kind in _ACROSS:
            yield one.name, one.y, one.x
        else:
            yield one.name, one.x, one.y


def _axis(axis: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": axis.words if axis.is_share else axis.title, "name_font": {"size": 9}, "num_font": {"size": 8}}
    if axis.is_log:
        found["log_base"] = 10
    found["num_format"] = "0%" if axis.is_share else _AXIS_FORMAT
    return found if axis.title else {"num_font": {"size": 8}}


def _on_paper(sheet: Any, *, is_wide: bool = False) -> None:
    """Across the page, as wide as one unless it would be too small to read."""
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    if not is_wide:
        sheet.fit_to_pages(1, 0)


def _letter(column: int) -> str:
    """A column's letters."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _sheet_of(listing: Listing) -> str:
    return "Metadata" if listing.title == "This run" else listing.title.split()[0]
