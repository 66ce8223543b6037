"""The house's picture, drawn from the code: its rooms from the roof down, the files of each, and the rooms that each imports.

`python docs/tools/house.py` writes docs/house.svg. The order of the rooms is that of the import contract in pyproject.toml.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "accelmodel"
PICTURE = ROOT / "docs" / "house.svg"

_WIDTH, _NAME, _LINE, _GAP, _TEXT = 1120, 150, 18, 8, 130  # pixels; characters of a line
_STYLE = (
    "text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1b2733 } .room { font-size: 14px; font-weight: bold } "
    ".purpose { font-family: sans-serif } .uses { fill: #51606e }"
)
_FLOORS = ("#dfe7ef", "#eef3f7")


@dataclass(frozen=True)
class Room:
    """A room: its name, what it is for in its own words, its files, the rooms below that it imports."""

    name: str
    purpose: str
    files: tuple[str, ...]
    uses: tuple[str, ...]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What is written into it, each line with its class."""
        below = f"uses {', '.join(self.uses)}" if self.uses else "stands on its own"
        files = textwrap.wrap(", ".join(self.files), _TEXT, break_on_hyphens=False)
        return [("purpose", self.purpose), *(("files", line) for line in files), ("uses", below)]


def rooms() -> list[Room]:
    """The rooms from the top down."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]
    return [_room(name, contract["layers"]) for name in contract["layers"]]


def _room(name: str, names: list[str]) -> Room:
    folder = SOURCE / name
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    imported = {target for path in paths for target in _imports(path)}
    files = [path.relative_to(folder).with_suffix("").as_posix() for path in paths if path.stem != "__init__"] if folder.is_dir() else []
    purpose = ast.get_docstring(ast.parse((folder / "__init__.py" if folder.is_dir() else paths[0]).read_text(encoding="utf-8"))) or ""
    return Room(name, " ".join(purpose.split("\n\n")[0].split()), tuple(files), tuple(other for other in names if other in imported - {name}))


def _imports(path: Path) -> Iterator[str]:
    """Rooms that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "accelmodel":
            inner = (node.module or "").split(".")[1:]
            yield from inner[:1] or (alias.name for alias in node.names)


def picture() -> str:
    """The house as SVG."""
    found = rooms()
    heights = [_LINE * len(room.lines) + 2 * _GAP for room in found]
    told = f"{len(found)} rooms from the top down, {', '.join(room.name for room in found)}; each imports only rooms below it"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {sum(heights) + 2}" role="img" aria-label="{escape(told)}">'
    lines = [head, f"<title>The house: {escape(told)}</title>", f"<style>{_STYLE}</style>"]
    top = 1
    for number, (room, height) in enumerate(zip(found, heights, strict=True)):
        lines += _drawn(room, top, height, _FLOORS[number % 2])
        top += height
    return "\n".join([*lines, "</svg>"]) + "\n"


def _drawn(room: Room, top: int, height: int, floor: str) -> Iterator[str]:
    yield f'<rect x="1" y="{top}" width="{_WIDTH - 2}" height="{height}" fill="{floor}" stroke="#7a8a99"/>'
    name = f"{room.name}/" if room.files else f"{room.name}.py"
    yield f'<text class="room" x="{2 * _GAP}" y="{top + _LINE + _GAP // 2}">{escape(name)}</text>'
    for number, (kind, line) in enumerate(room.lines, 1):
        yield f'<text class="{kind}" x="{_NAME}" y="{top + number * _LINE + _GAP // 2}">{escape(line)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
