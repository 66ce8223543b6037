"""What a shell offers at TAB: names of the shipped catalogue, and of one's own where ACCELMODEL_CATALOG names it."""

from __future__ import annotations

from collections.abc import Callable


def names(*kinds: str) -> Callable[[str], list[str]]:
    """A completer of names of entries of these kinds; of every kind where none is given."""

    def offered(incomplete: str) -> list[str]:
        from accelmodel.catalog.library import FOLDERS, Library

        library = Library()
        return sorted({name for kind in kinds or (*FOLDERS, "scenarios") for name in library.files(kind) if name.startswith(incomplete)})

    return offered


def kinds(incomplete: str) -> list[str]:
    """Kinds of entries that begin so."""
    from accelmodel.catalog.entries import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]
