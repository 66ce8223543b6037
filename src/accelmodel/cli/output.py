"""Where a command writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelmodel.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from accelmodel.catalog.library import Library

# A pipe has no width; this one holds every table that is made to be read.
_PIPE_WIDTH = 160


def results() -> Console:
    """The console of standard output; on a pipe plain text, 160 columns wide unless COLUMNS says otherwise."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def emit(text: str) -> None:
    """Write text to standard output as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def emit_json(document: Any) -> None:
    """Write one JSON document to standard output."""
    emit(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))


def tell(message: str, *, quiet: bool = False) -> None:
    """Say something beside the results, on standard error."""
    if not quiet:
        print(message, file=sys.stderr, flush=True)


def choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """A value among a few; InputError with the nearest otherwise."""
    if value not in allowed:
        raise InputError(f"'{value}' is not one of its values", key=option, value=value, allowed=allowed)
    return value


def open_catalog(folder: Path | None) -> Library:
    """The catalogue, with a folder of one's own before the shipped entries."""
    from accelmodel.catalog.library import Library

    return Library() if folder is None else Library(folder)


def tell_of_compilation(*, quiet: bool) -> None:
    """Say what a first run waits for."""
    from accelmodel.core.jit import is_compiled

    if not is_compiled():
        tell("compiling the engine once (10 to 50 s, by what is asked); later runs start at once", quiet=quiet)


def is_debugging() -> bool:
    """Whether faults print their traceback."""
    return bool(os.environ.get("ACCELMODEL_DEBUG"))


def tell_of_step(drawn: Mapping[str, Any], *, quiet: bool) -> None:
    """Say that a closed loop of equal requests keeps in step, where percentiles of one are asked for."""
    from accelmodel.studies.percentiles import Draw

    if text := Draw(**drawn).in_step:
        tell(text, quiet=quiet)
