"""Parts of a large result: one Parquet file a chunk, sorted by its leading columns, which are dictionary-encoded; and small files of arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accelmodel.results.store import Folder, bytes_writer, parquet_writer


def part_name(number: int) -> str:
    """The file of a part.

    >>> part_name(12)
    'part-000012.parquet'
    """
    return f"part-{number:06d}.parquet"


def write_part(folder: Folder, name: str, table: Any, sorted_by: Sequence[str]) -> None:
    """Write an Arrow table whose rows ascend by its columns `sorted_by`, as the file then says; these are dictionary-encoded, all have statistics."""
    import pyarrow.parquet as pq

    labels = [field.name for field in table.schema if field.name in sorted_by or str(field.type).startswith("dictionary")]
    order = pq.SortingColumn.from_ordering(table.schema, [(column, "ascending") for column in sorted_by])
    folder.write(name, parquet_writer(table, use_dictionary=labels, sorting_columns=order, write_statistics=True, row_group_size=max(table.num_rows, 1)))


def write_arrays(folder: Folder, name: str, content: bytes) -> None:
    """Write what `arrays_bytes` made."""
    folder.write(name, bytes_writer(content))


def arrays_bytes(document: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """A JSON document and named arrays as one file (npz): the same bytes for the same content."""
    sink = io.BytesIO()
    content = {"document": np.frombuffer(json.dumps(document, sort_keys=True).encode(), np.uint8), **arrays}
    np.savez(sink, allow_pickle=False, **content)
    return sink.getvalue()


def read_arrays(content: bytes) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """What `arrays_bytes` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files if name != "document"}
        return json.loads(found["document"].tobytes()), arrays
