"""One number everywhere: the terminal, JSON, CSV, the page and the workbook say the same of a run."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

import accelmodel as am
from accelmodel.cli.main import execute


class Page(HTMLParser):
    """Tables by caption: of each, the columns and the rows of cells as (text, raw value); scripts by id; every tag's attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[dict[str, Any]] = []
        self.scripts: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._script: str | None = None
        self._cell: list[Any] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "script":
            self._script = given.get("id") or "program"
        elif tag == "table":
            self.tables.append({"columns": [], "units": [], "rows": []})
        elif tag == "th" and "data-column" in given:
            self.tables[-1]["columns"].append(given["data-column"])
            self.tables[-1]["units"].append(given["data-unit"])
        elif tag == "tr" and self.tables:
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th") and self.tables and given.get("scope") != "col":
            self._cell = ["", None]
            self.tables[-1]["rows"][-1].append(self._cell)
        elif tag == "data" and self._cell is not None:
            self._cell[1] = float(given["value"] or "nan")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None
        elif tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif self._cell is not None:
            self._cell[0] += data

    def study(self, columns: list[str]) -> dict[str, Any]:
        """The table that has these columns."""
        return next(table for table in self.tables if table["columns"] == columns)


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("written")
    return {ending: am.report(folder, home / f"report.{ending}") for ending in ("html", "xlsx", "csv.zip")}


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: pq.read_table(path).to_pylist() for path in folder.glob("*.parquet")}


def test_the_page_holds_the_run_s_numbers_in_cells_and_as_data(written: dict[str, Path], folder: Path, tables: dict[str, list[dict[str, Any]]]):
    page = Page(written["html"].read_text(encoding="utf-8"))
    data = json.loads(page.scripts["data"])
    shown = {name: study["columns_to_show"] for name, study in json.loads((folder / "run.json").read_text())["studies"].items()}
    assert data.keys() == tables.keys() == shown.keys()
    for name, rows in tables.items():
        assert data[name]["rows"] == rows
        columns = shown[name] if name != "fleet" or "case" in shown[name] else ["case", *shown[name]]
        cells = [row for row in page.study(columns)["rows"] if row]
        assert len(cells) == len(rows)
        for row, line in zip(rows, cells, strict=True):
            for column, (text, value) in zip(columns, line, strict=True):
                expected = row[column]
                if isinstance(expected, str):
                    assert text == expected
                elif expected is not None and not isinstance(expected, bool):
                    assert value == expected


def test_the_page_prints_what_the_terminal_prints(
    written: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
):
    monkeypatch.setenv("COLUMNS", "500")
    scenario = str(folder.parent / "small.toml")
    assert execute(["run", scenario, "--set", "base.concurrency=32", "--quiet", "--output", str(tmp_path / "again")]) == 0
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    page = Page(written["html"].read_text(encoding="utf-8"))
    of_studies = [table for table in page.tables if table["columns"] and table["columns"][0] in ("case", "concurrency", "in_house_fraction")]
    shown = {name: study["columns_to_show"] for name, study in json.loads((folder / "run.json").read_text())["studies"].items()}
    found = [table for table in of_studies if table["columns"] in shown.values()]
    assert len(found) == len(shown)
    for table in found:
        for row in table["rows"]:
            if row:
                assert " ".join(text for text, _ in row) in lines


def test_the_workbook_s_sheets_hold_the_run_s_numbers(written: dict[str, Path], tables: dict[str, list[dict[str, Any]]]):
    book = openpyxl.load_workbook(written["xlsx"])
    for name, rows in tables.items():
        sheet = book[name]
        names = [str(cell.comment.text).split(":")[0] for cell in sheet[1]]
        assert sorted(names) == sorted(rows[0])
        for place, row in enumerate(rows, 3):
            found = dict(zip(names, (cell.value for cell in sheet[place]), strict=True))
            # A workbook's file holds 16 or 17 significant digits.
            assert found == {key: pytest.approx(value, rel=1e-15) if isinstance(value, float) else value for key, value in row.items()}


def test_csv_holds_the_run_s_numbers_to_the_last_digit(written: dict[str, Path], tables: dict[str, list[dict[str, Any]]]):
    with zipfile.ZipFile(written["csv.zip"]) as archive:
        assert archive.testzip() is None
        assert {"metadata.csv", "columns.csv", "answer.csv", "assumptions.csv", "inputs.csv", "sources.csv"} <= set(archive.namelist())
        units = {(row["study"], row["column"]): row["unit"] for row in _rows(archive, "columns.csv")}
        for name, rows in tables.items():
            found = _rows(archive, f"{name}.csv")
            assert len(found) == len(rows)
            for line, row in zip(found, rows, strict=True):
                assert {key: _read(text, row[key]) for key, text in line.items()} == row
            assert {column for study, column in units if study == name} == set(rows[0])
        assert units["frontier", "cost_usd_per_mtok"] == "USD/Mtok"


def _rows(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read(name).decode())))


def _read(text: str, like: Any) -> Any:
    if like is None:
        return None if text == "" else text
    return text == "true" if isinstance(like, bool) else type(like)(text)


def test_json_of_the_run_has_what_the_answer_says(folder: Path, written: dict[str, Path]):
    """The cheapest tokens by the run's summary are those of the page's first sentence."""
    best = json.loads((folder / "run.json").read_text())["studies"]["frontier"]["summary"]["models"]["llama-3.1-8b"]["cheapest"]
    page = written["html"].read_text(encoding="utf-8")
    from accelmodel.numbers import digits

    said = f"&#x27;{best['case']}&#x27; with {best['concurrency']:g} requests at a time has the cheapest tokens: {digits(best['cost_usd_per_mtok'])} USD/Mtok"
    assert said in page


def test_a_run_in_memory_and_its_folder_make_the_same_page(folder: Path, tmp_path: Path):
    run = am.run(folder.parent / "small.toml", set={"base.concurrency": 32})
    one, other = (am.report(what, tmp_path / f"{name}.html").read_text() for name, what in (("memory", run), ("folder", folder)))
    assert one == other
