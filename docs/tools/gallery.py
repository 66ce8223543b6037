"""The gallery's drawings, made by the page's own lines. `python docs/tools/gallery.py` writes them beside the page."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

PAGE = Path(__file__).parents[1] / "gallery.md"
_STYLE = {
    "svg.hashsalt": "accelmodel",  # names of elements follow from the drawing, not from chance
    "svg.fonttype": "none",  # text stays text
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
}


def draw(folder: Path) -> list[Path]:
    """Run every block of the page in a folder; the drawings that it makes there."""
    import matplotlib as mpl

    mpl.use("svg")
    session: dict[str, Any] = {}
    without_date = mock.patch.dict(os.environ, {"SOURCE_DATE_EPOCH": "0"})
    with contextlib.chdir(folder), mpl.rc_context(_STYLE), without_date:
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            exec(compile(block, PAGE.name, "exec"), session)
        session["plt"].close("all")
    return sorted(folder.glob("*.svg"))


if __name__ == "__main__":
    draw(PAGE.parent)
