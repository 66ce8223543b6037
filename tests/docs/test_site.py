"""The site's navigation holds every page, its generated pages everything that they are generated from, and the house is drawn as it stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from test_gallery import tool

import accelmodel as am
from accelmodel.cli.main import app
from accelmodel.columns import COLUMNS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages() -> Any:
    return tool("pages")


def in_navigation() -> list[str]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    def leaves(part: Any) -> Iterator[str]:
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from leaves(inner)
        if isinstance(part, str):
            yield part

    return list(leaves(yaml.safe_load(text)["nav"]))


def test_every_page_has_one_place_in_the_navigation(pages):
    """Not by building the site, which CI does and which takes ten seconds."""
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    generated = [f"reference/{name}.md" for name in ("cli", "python", "columns", *pages.ROOMS)] + ["contributing.md"]
    assert sorted(in_navigation()) == sorted(written + generated)


def test_every_room_of_the_house_has_a_page_of_reference(pages):
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]["layers"]
    assert set(pages.ROOMS) == {name for name in layers if (ROOT / "src" / "accelmodel" / name).is_dir()} - {"cli", "app"}


def test_the_page_of_columns_has_every_column_with_its_unit(pages):
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", pages.columns_page(), re.MULTILINE))
    assert rows == {name: column.unit for name, column in COLUMNS.items()}


def test_the_page_of_commands_has_every_command_and_option(pages):
    page = pages.cli()

    def check(path: str, command: Any) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            check(f"{path} {name}", inner)
        if not hasattr(command, "commands"):
            (section,) = re.findall(rf"^#+ {re.escape(path)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
            for parameter in command.params:
                assert parameter.opts[0] == "--help" or not parameter.opts[0].startswith("-") or f"`{parameter.opts[0]}" in section, (path, parameter.opts)

    check("accelmodel", typer.main.get_command(app))
    assert "(needed)" in page


def test_the_page_of_python_has_every_public_name(pages):
    named = set(re.findall(r"^::: accelmodel\.(?:.*\.)?(\w+)$", pages.python(), re.MULTILINE))
    assert named == set(am.__all__)


def test_a_mark_of_a_block_becomes_its_title(pages):
    assert pages.on_page_markdown("```toml scenario\n```\n```toml a/b.toml\n```\n```sh\n") == '```toml\n```\n```toml title="a/b.toml"\n```\n```sh\n'


def test_examples_of_docstrings_stand_in_fences():
    assert tool("doctests").fenced("Half.\n\n>>> 1 / 2\n0.5\n\nMore.") == "Half.\n\n```pycon\n>>> 1 / 2\n0.5\n```\n\nMore."


def test_the_houses_picture_is_drawn_from_the_code_as_it_is():
    house = tool("house")
    assert house.PICTURE.read_text(encoding="utf-8") == house.picture(), "run: python docs/tools/house.py"


def test_the_houses_picture_shows_every_module_in_its_room_and_no_import_upwards():
    rooms = tool("house").rooms()
    names = [room.name for room in rooms]
    shown = {f"{room.name}/{file}.py" for room in rooms for file in room.files}
    source = ROOT / "src" / "accelmodel"
    assert shown == {path.relative_to(source).as_posix() for path in source.glob("*/**/*.py") if path.stem != "__init__"}
    for place, room in enumerate(rooms):
        assert set(room.uses) <= set(names[place + 1 :])
    assert "core" in next(room for room in rooms if room.name == "serving").uses
