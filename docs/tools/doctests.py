"""Examples in docstrings as blocks of code: to Markdown, which the site reads docstrings as, three angle brackets are a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)


def fenced(docstring: str) -> str:
    """A docstring whose examples, up to the next empty line, stand in fences.

    >>> fenced("Half.\\n\\n>>> 1 / 2\\n0.5\\n\\nMore.").split("\\n")
    ['Half.', '', '```pycon', '>>> 1 / 2', '0.5', '```', '', 'More.']
    """
    return _EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", docstring)


class Doctests(griffe.Extension):
    """Fences the examples of every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """One object, read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
