"""The pages are true: every block of Python, every scenario and catalogue entry, and every command in docs/, the README and CONTRIBUTING runs.

A page is one session in a folder of its own, its blocks run from the top. How a block is marked: ```python runs; ```sh runs each line that is, or
ends in, a command `accelmodel`; ```toml with `scenario` behind it runs as a scenario, with a path behind it is written there, for what comes after;
```text is only read.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import accelmodel as am
from accelmodel.catalog.checks import check
from accelmodel.cli.main import execute

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
DRAWN = ROOT / "docs" / "gallery.md"  # whose blocks draw: test_gallery.py runs them
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if page != DRAWN], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    for language, mark, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, page.name, "exec"), session)
        elif language == "sh":
            for line in re.findall(r"^(?:.* && (?:\.venv/bin/)?)?(accelmodel .*)$", text, re.MULTILINE):
                assert execute(shlex.split(line)[1:]) == 0, line
        elif language == "toml":
            _toml(mark, text)
        else:
            assert language == "text", f"{page.name}: a block of '{language}' is marked as nothing that this test knows"


def _toml(mark: str, text: str) -> None:
    path = Path("scenario.toml" if mark == "scenario" else mark)
    assert path.suffix == ".toml", f"a block of TOML says 'scenario' or the path where it belongs, not '{mark}'"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if mark == "scenario":
        assert all(table.num_rows for table in am.run(path).tables.values())


def test_entries_of_the_catalogue_page_pass_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for language, mark, text in BLOCK.findall((ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")):
        if language == "toml":
            _toml(mark, text)
    library = am.Library(tmp_path)
    assert check(library, [path for path in tmp_path.rglob("*.toml") if path.parent != tmp_path]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readmes_numbers_of_rainier_are_those_of_the_run() -> None:
    """The table of the README, to the digits that it shows."""
    fleets = am.run("rainier", studies=["fleet"]).to_pandas("fleet").query("case == 'sonnet-price'")
    columns = {
        "UltraServers": fleets.systems,
        "power at the meter, MW": fleets.facility_power_mw,
        "capital, billion USD": fleets.capital_usd / 1e9,
        "tokens a day, trillion": fleets.tokens_per_day / 1e12,
        "cost of a million tokens, USD": fleets.cost_usd_per_mtok,
        "margin at Claude Sonnet's price": 100 * fleets.margin_fraction,
    }
    rows = dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    for name, values in columns.items():
        shown = [cell.strip().removesuffix(" %").replace(",", "") for cell in rows[name].split("|")]
        for cell, value in zip(shown, values, strict=True):
            assert f"{value:.{len(cell.partition('.')[2])}f}" == cell, name
    for cell in rows["where 90 % of what the engine believes lies"].split("|"):
        low, high = re.findall(r"\d+", cell)
        assert [f"{100 * fleets[f'margin_fraction_{end}'].iloc[0]:.0f}" for end in ("low90", "high90")] == [low, high]
