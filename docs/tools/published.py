"""The catalogue's published measurements: rows of a file of measurements that make places on frontiers. `python docs/tools/published.py FILE` writes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from accelmodel.studies.measured_frontier import frontier_rows

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = Path(__file__).parents[2] / "hardware_profiles/measurements/published-2026-11.parquet"
_LEFT_OUT = ("trainium", "special")  # the first follows from the accelerator; rows marked in the second have no place


def condensed(path: Path | str) -> pd.DataFrame:
    """The rows of a file of measurements that make places on frontiers, with every column that says how to read them or where they stand."""
    rows = frontier_rows(path)
    return rows.drop(columns=[name for name in _LEFT_OUT if name in rows]).reset_index(drop=True)


if __name__ == "__main__":
    SHIPPED.parent.mkdir(exist_ok=True)
    condensed(sys.argv[1]).to_parquet(SHIPPED, compression="zstd", index=False)
