"""Results on disk: Parquet tables and JSON, written under a temporary name and renamed, so that nothing half-written is ever found."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelmodel.errors import InputError


def check_folder(folder: Path) -> None:
    """Create an output folder and see that it takes files; InputError otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot be written to: {error.strerror}", file=folder, key="--output") from None


def write(path: Path, writer: Callable[[Path], object]) -> Path:
    """Let `writer` write a temporary file beside `path`, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        writer(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, document: Any) -> Path:
    """Write a JSON document."""
    return write(path, lambda temporary: temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8"))


def write_parquet(path: Path, table: Any) -> Path:
    """Write an Arrow table as Parquet (zstd)."""
    import pyarrow.parquet as pq

    return write(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
