"""References: published figures that results are set beside; no computation rests on them."""

from __future__ import annotations

from pydantic import Field

from accelmodel.catalog.figures import Figure, Strict
from accelmodel.errors import InputError


class Statement(Strict):
    """A published claim that is not a number."""

    text: str
    source: str
    date: str | None = None


class Reference(Strict):
    """A named table of figures; `groups` holds one such table per thing compared (an accelerator, a quarter)."""

    name: str
    title: str
    note: str | None = None
    figures: dict[str, Figure] = Field(default_factory=dict)
    groups: dict[str, dict[str, Figure]] = Field(default_factory=dict)
    statements: dict[str, Statement] = Field(default_factory=dict)

    def need(self, figure: str, group: str | None = None) -> Figure:
        """A figure of the table, or of one of its groups; InputError with the nearest name where there is none."""
        if group is not None and group not in self.groups:
            raise InputError(f"reference '{self.name}' has no group '{group}'", key="group", value=group, allowed=self.groups)
        table = self.figures if group is None else self.groups[group]
        if figure not in table:
            raise InputError(f"reference '{self.name}' has no figure '{figure}'", key="figure", value=figure, allowed=table)
        return table[figure]
