"""Shared set-up of the tests: this file's folder is importable, so that `reference` and `situations` serve every room's tests."""

import pytest


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    """One width of the terminal, wherever the tests run; those of narrow ones set their own."""
    monkeypatch.delenv("COLUMNS", raising=False)
