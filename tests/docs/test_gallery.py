"""The drawings of the gallery are those that its lines draw."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = sorted((ROOT / "docs").glob("gallery-*.svg"))
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def tool(name: str) -> SimpleNamespace:
    """A script of docs/tools, which is no package."""
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "tools" / f"{name}.py")))


def paths(svg: Path) -> list[list[float]]:
    """The points of every path and the places of every text, in points of 1/72 inch."""
    found = re.findall(r' d="([^"]*)"|transform="([^"]*)"', svg.read_text(encoding="utf-8"))
    return [[float(number) for number in _NUMBER.findall("".join(pair))] for pair in found]


def texts(svg: Path) -> list[str]:
    return re.findall(r">([^<>\n]+)</(?:text|tspan)>", svg.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in tool("gallery").draw(tmp_path_factory.mktemp("gallery"))}


def test_the_page_draws_what_lies_beside_it_and_shows_all_of_it(drawn):
    assert sorted(drawn) == [path.name for path in SHOWN] == sorted(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / "docs" / "gallery.md").read_text()))


@pytest.mark.parametrize("shown", SHOWN, ids=lambda path: path.stem)
def test_a_drawing_is_what_its_lines_draw(shown, drawn):
    """To half a point: another release of the drawing library may round otherwise."""
    again = drawn[shown.name]
    assert texts(again) == texts(shown), "run: python docs/tools/gallery.py"
    assert len(texts(shown)) > 5
    for new, old in zip(paths(again), paths(shown), strict=True):
        assert new == pytest.approx(old, abs=0.5), "run: python docs/tools/gallery.py"
