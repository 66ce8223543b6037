"""The errors a user can cause or meet, worded for the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input: says the file, the key, the value, what is allowed and the nearest valid name.

    The command line prints it as one message and exits with code 2.
    """

    def __init__(
        self,
        message: str,
        *,
        file: object = None,
        key: str | None = None,
        value: object = None,
        allowed: Iterable[str] | None = None,
        nearest: str | None = None,
    ) -> None:
        self.message = message
        self.file = None if file is None else str(file)
        self.key = key
        self.value = value
        self.allowed = None if allowed is None else sorted(allowed)
        self.nearest = nearest
        if nearest is None and self.allowed is not None and isinstance(value, str):
            self.nearest = nearest_name(value, self.allowed)
        super().__init__(str(self))

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        text = f"{where}: {self.message}" if where else self.message
        if self.nearest is not None:
            text += f"; did you mean '{self.nearest}'?"
        if self.allowed is not None:
            shown = ", ".join(self.allowed[:12]) + (f", ... ({len(self.allowed)} in all)" if len(self.allowed) > 12 else "")
            text += f" Allowed: {shown}." if self.nearest is not None else f"; allowed: {shown}."
        return text


class DoesNotFitError(InputError):
    """A model that the memory of its replica cannot hold; raised only where a caller cannot go on without a fit."""


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The valid name closest to a mistyped one, or None where nothing is close.

    >>> nearest_name("trainuim2", ["trainium2", "h100-sxm"])
    'trainium2'
    """
    by_folded = {candidate.casefold(): candidate for candidate in names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None
