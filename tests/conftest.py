"""Shared set-up of the tests: this file's folder is importable, so that `reference` and `situations` serve every room's tests."""
