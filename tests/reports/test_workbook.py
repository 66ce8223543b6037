"""The workbook: legal sheets, text that stays text, native charts, and formulas that come to what the engine found and move with a price."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

import accelmodel as am
from accelmodel.reports.csv_files import safe
from accelmodel.reports.workbook import sheet_names

COMPUTED = " as computed"


class Sheet:
    """A sheet's values as a spreadsheet would have them: formulas of numbers, cells, + - * / and parentheses, nothing else."""

    def __init__(self, sheet: Worksheet) -> None:
        self.cells = {cell.coordinate: cell.value for row in sheet.iter_rows() for cell in row}

    def value(self, place: str) -> Any:
        """The value of a cell, computed if it is a formula; an empty cell is 0 within one."""
        found = self.cells.get(place)
        if not (isinstance(found, str) and found.startswith("=")):
            return found
        formula = found[1:]
        assert re.fullmatch(r"[A-Z0-9.+\-*/()]+", formula), formula
        return eval(re.sub(r"[A-Z]+\d+", lambda match: repr(float(self.value(match[0]) or 0.0)), formula), {"__builtins__": {}})

    def formulas(self) -> list[str]:
        """Places that hold a formula."""
        return [place for place, value in self.cells.items() if isinstance(value, str) and value.startswith("=")]


@pytest.fixture(scope="module")
def path(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return am.report(folder, tmp_path_factory.mktemp("book") / "book.xlsx")


def _blocks(sheet: Worksheet) -> list[tuple[dict[str, str], list[int]]]:
    """Heads of each block by their column's letter, and its rows."""
    rows = list(sheet.iter_rows(values_only=True))
    starts = [place for place, row in enumerate(rows) if row[0] in ("case", "quarter", "list price", "in house")]
    found = []
    for start in starts:
        heads = {str(head): get_column_letter(place + 1) for place, head in enumerate(rows[start]) if head}
        end = next((place for place in range(start + 2, len(rows)) if rows[place][0] is None), len(rows))
        found.append((heads, [place + 1 for place in range(start + 2, end)]))
    return found


def test_every_live_formula_comes_to_the_engine_s_figure(path: Path):
    money = openpyxl.load_workbook(path)["Money"]
    sheet, held = Sheet(money), 0
    for heads, rows in _blocks(money):
        for head in [head for head in heads if head + COMPUTED in heads]:
            for row in rows:
                formula, engine = f"{heads[head]}{row}", sheet.cells[f"{heads[head + COMPUTED]}{row}"]
                assert formula in sheet.formulas()
                assert sheet.value(formula) == pytest.approx(engine, rel=1e-12, abs=1e-15)
                held += 1
    # Points and margins: cost and margin, margins price too; two waterfalls with two levels; fleets cost and margin; shocks margin.
    assert held == 8 * 2 + 16 * 3 + 2 * 2 + 4 * 2 + 9


def test_a_changed_price_moves_the_margin_as_arithmetic_says(path: Path):
    money = openpyxl.load_workbook(path)["Money"]
    sheet = Sheet(money)
    for heads, rows in _blocks(money):
        for row in rows:
            if "list price" in heads and "margin" in heads:
                price, discount, cost, margin = (f"{heads[name]}{row}" for name in ("list price", "discount", "cost", "margin"))
                sheet.cells[price] *= 2
                expected = 1 - sheet.value(cost) / (sheet.cells[price] * (1 - sheet.cells[discount]))
            elif "change of price" in heads:
                change, margin = (f"{heads[name]}{row}" for name in ("change of price", "margin"))
                before = sheet.value(margin)
                sheet.cells[change] = 0.25
                expected = 1 - (1 - before) / 1.25
            else:
                continue
            assert sheet.value(margin) == pytest.approx(expected)
            assert expected > sheet.cells[f"{heads['margin' + COMPUTED]}{row}"]


def test_cached_values_are_the_engine_s_so_that_viewers_without_formulas_show_them(path: Path):
    shown, live = openpyxl.load_workbook(path, data_only=True)["Money"], Sheet(openpyxl.load_workbook(path)["Money"])
    assert live.formulas()
    for place in live.formulas():
        assert shown[place].value == pytest.approx(live.value(place), rel=1e-12, abs=1e-15)


def test_only_what_may_be_changed_is_yellow(path: Path):
    for row in openpyxl.load_workbook(path)["Money"].iter_rows():
        for cell in row:
            if cell.fill.fgColor.rgb == "FFFFF6CC":
                assert isinstance(cell.value, (int, float))


def test_sheets_have_units_frozen_heads_and_charts(path: Path, folder: Path):
    book = openpyxl.load_workbook(path)
    studies = list(json.loads((folder / "run.json").read_text())["studies"])
    listings = ["Assumptions", "Accuracy", "Inputs", "Sources", "Metadata"]
    assert book.sheetnames == ["Answer", "Money", "Charts", *studies, *listings, "Chart data"]
    for name in studies:
        assert book[name].freeze_panes == "B3"
        assert book[name].auto_filter.ref
    heads = {str(cell.value): str(book["frontier"].cell(2, cell.column).value or "") for cell in book["frontier"][1]}
    assert (heads["cost"], heads["margin"], heads["time to first token"], heads["accelerators"]) == ("USD/Mtok", "%", "s", "accelerator")
    with zipfile.ZipFile(path) as archive:
        charts = [name for name in archive.namelist() if re.match(r"xl/charts/chart\d+\.xml", name)]
        drawing = next(archive.read(name).decode() for name in archive.namelist() if name.startswith("xl/drawings/drawing"))
    assert len(charts) == drawing.count(' descr="')  # every chart has a text in its place
    assert len(charts) >= 5


def test_whole_numbers_have_no_point_and_every_number_has_its_room(path: Path, folder: Path):
    book = openpyxl.load_workbook(path)
    seen = 0
    for name in json.loads((folder / "run.json").read_text())["studies"]:
        widths = {letter: one.width for key, one in book[name].column_dimensions.items() for letter in columns_between(one.min, one.max) if key}
        for column in book[name].iter_cols(min_row=3):
            values = [cell.value for cell in column if isinstance(cell.value, (int, float)) and not isinstance(cell.value, bool)]
            if values and all(value == int(value) for value in values):
                assert not column[0].number_format.endswith(".####"), (name, column[0].coordinate)
            if column[0].number_format == "#,##0":
                seen += 1
                assert max((len(f"{value:,.0f}") for value in values), default=0) <= widths[column[0].column_letter], (name, column[0].coordinate)
    assert seen


def columns_between(first: int, last: int) -> list[str]:
    return [openpyxl.utils.get_column_letter(place) for place in range(first, last + 1)]


def test_metadata_names_the_run(path: Path, folder: Path):
    rows = {row[0]: row[1] for row in openpyxl.load_workbook(path)["Metadata"].iter_rows(min_row=3, values_only=True)}
    document = json.loads((folder / "run.json").read_text())
    assert rows["catalogue hash (SHA-256)"] == document["catalog_sha256"]
    assert rows["scenario"] == "small"


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1+cmd", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")', "http://example.com"])
def test_text_never_becomes_a_formula_or_a_link(evil: str, folder: Path, tmp_path: Path):
    home = tmp_path / "evil"
    shutil.copytree(folder, home)
    document = json.loads((home / "run.json").read_text())
    document["assumptions"][0]["text"] = evil
    document["title"] = evil
    document["studies"]["fleet"]["notes"] = [evil]
    (home / "run.json").write_text(json.dumps(document))
    book = openpyxl.load_workbook(am.report(home, tmp_path / "x.xlsx"))
    for sheet in book:
        assert not [cell for row in sheet.iter_rows() for cell in row if cell.hyperlink]
        if sheet.title != "Money":
            assert not [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f" or str(cell.value).startswith(("=", "+", "@", "\t"))]
    with zipfile.ZipFile(am.report(home, tmp_path / "x.csv.zip")) as archive:
        for name in archive.namelist():
            assert not [line for line in archive.read(name).decode().splitlines() if re.match(r'"?[=+@\t]', line) or re.search(r',"?[=+@\t]', line)]


@given(st.lists(st.text(max_size=60), unique=True, max_size=12))
def test_sheet_names_are_legal_and_none_is_lost(names: list[str]):
    found = sheet_names(names, ("Answer", "Money"))
    legal = list(found.values())
    assert list(found) == names
    assert len({name.casefold() for name in legal} | {"answer", "money"}) == len(names) + 2
    for name in legal:
        assert 1 <= len(name) <= 31
        assert not re.search(r"[\[\]:*?/\\]", name)
        assert not name.startswith("'")
        assert not name.endswith("'")
        assert name.casefold() != "history"


@given(st.text())
def test_safe_text_is_text_that_no_spreadsheet_computes(text: str):
    found = safe(text)
    assert found[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert found in (text, f"'{text}")
