"""Tables and paragraphs that fit the terminal: nothing is said by colour alone, and on a pipe there is plain text without escapes or drawn lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 2
_NARROW_TEXT = 18
_PLAIN = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_LINED = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")


@dataclass(frozen=True)
class Column:
    """A column of text cells under a label and a unit; numbers go to the right and never wrap."""

    label: str
    unit: str
    cells: Sequence[str]
    numeric: bool = True

    @property
    def content_width(self) -> int:
        """What cells, unit and the longest word of the label need."""
        return max(len(word) for word in (*self.label.split(), self.unit, *self.cells, ""))

    @property
    def least_width(self) -> int:
        """What the column can be squeezed to: numbers and single words never break, longer text does at words."""
        if self.numeric:
            return self.content_width
        words = [word for text in (self.label, self.unit, *self.cells) for word in text.split()]
        return max(len(word) for word in (*words, " " * min(self.content_width, _NARROW_TEXT)))

    def header(self, width: int) -> str:
        """Label, wrapped at words, over the unit."""
        return "\n".join([*textwrap.wrap(self.label, max(width, 1), break_long_words=False), *([self.unit] if self.unit else [])])


def print_columns(columns: Sequence[Column], console: Console, keep: int = 1, left_out: Sequence[str] = ()) -> list[str]:
    """A table of the columns that fit, the first `keep` in any case; which were left out, here or before, is said below it. Returns the labels shown."""
    shown = list(columns)
    while len(shown) > keep and not fits(shown, console.width):
        shown.pop()
    table = _table(console, headed=any(one.label or one.unit for one in shown))
    for one, width in zip(shown, _widths(shown, console.width), strict=True):
        justify: Literal["left", "right"] = "right" if one.numeric else "left"
        table.add_column(Text(one.header(width)), justify=justify, no_wrap=one.numeric, vertical="bottom", overflow="fold", width=width)
    for row in zip(*(one.cells for one in shown), strict=True):
        table.add_row(*(Text(value) for value in row))
    console.print(table)
    left = [*left_out, *(one.label for one in columns[len(shown) :])]
    if left:
        say(f"Not shown at this width: {', '.join(left)}.", console)
    return [one.label for one in shown]


def fits(columns: Sequence[Column], width: int, *, squeeze: bool = True) -> bool:
    """Whether columns fit; `squeeze` lets long text break at words."""
    return sum(one.least_width if squeeze else one.content_width for one in columns) + _GAP * (len(columns) - 1) <= width


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """A width for each column: squeezed text first gets back what it needs, then labels their single line."""
    found = [one.least_width for one in columns]
    spare = width - sum(found) - _GAP * (len(columns) - 1)
    for wanted in ([one.content_width for one in columns], [max(one.content_width, len(one.label)) for one in columns]):
        for place, want in enumerate(wanted):
            more = max(0, min(want - found[place], spare))
            found[place] += more
            spare -= more
    return found


def _table(console: Console, *, headed: bool) -> Table:
    lines = _LINED if console.is_terminal else _PLAIN
    return Table(box=lines, show_header=headed, header_style="bold", show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def say(words: str, console: Console, indent: str = "") -> None:
    """A paragraph, wrapped at the console's width."""
    filled = textwrap.fill(words, console.width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    console.print(Text(filled), soft_wrap=True)


def heading(words: str, console: Console) -> None:
    """A heading, wrapped likewise."""
    console.print(Text(textwrap.fill(words, console.width, break_on_hyphens=False, break_long_words=False), style="bold"), soft_wrap=True)
