"""What the measurements themselves say about a row that is predicted badly: rules on what was published, none on names of hardware or software.

With N clients in a closed loop, X requests per second and a request's life R = TTFT + output tokens x TPOT, Little's law is N = X R, whatever serves them;
of the N, the share that decodes at a time is 1 - TTFT / R. A row that breaks the first was not a closed loop of its label; one whose clients mostly wait
for their first token ran fewer requests at a time than its label says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from accelmodel.studies.floors import LABELS, LOAD

_APART = 2.0  # measurements further apart than this factor do not say the same
_WAITING = 0.1  # a share of a request's life before its first token that a queue causes, not a prefill


def cause(row: Mapping[Any, Any], rows: pd.DataFrame) -> str:
    """What is found about a row of `rows` (all predicted rows, with `quantity` and `run`), the strongest finding first; empty where nothing is."""
    run = rows[rows["run"] == row["run"]].groupby("quantity")["value"].median()
    alike = rows[(rows["quantity"] == row["quantity"]) & _agree(rows, row)]
    return _breaks_littles_law(row, run) or _repeated_otherwise(row, alike) or _falls_with_load(row, alike) or _waits_for_a_place(row, run)


def _agree(rows: pd.DataFrame, row: Mapping[Any, Any]) -> Any:
    """Rows of the same published labels but the load's size."""
    found = np.ones(len(rows), bool)
    for name in LABELS:
        if name in rows and name not in LOAD:
            found &= (rows[name].isna() if pd.isna(row[name]) else rows[name] == row[name]).to_numpy(dtype=bool)
    return found


def _lives_s(row: Mapping[Any, Any], run: pd.Series[float]) -> tuple[float, float]:
    """Seconds before the first token, and of a request's whole life; NaN where they were not measured together."""
    token = run.get("tpot_ms", run.get("itl_ms", math.nan))
    first_s = run.get("ttft_ms", math.nan) / 1e3
    return first_s, first_s + float(row.get("osl") or math.nan) * token / 1e3


def _breaks_littles_law(row: Mapping[Any, Any], run: pd.Series[float]) -> str:
    """N against X R of the row's own figures."""
    clients, rate = float(row.get("concurrency") or math.nan), run.get("req_s", run.get("output_tok_s", math.nan) / float(row.get("osl") or math.nan))
    found = rate * _lives_s(row, run)[1]
    if not abs(math.log(found / clients)) > math.log(_APART):
        return ""
    return f"its rate times its latencies is {found:.3g} requests in flight, not {clients:.4g}: a run with another load than its label's"


def _repeated_otherwise(row: Mapping[Any, Any], alike: pd.DataFrame) -> str:
    """The same labels and load, measured again with another result."""
    again = alike[alike["concurrency"] == row["concurrency"]]["value"].to_numpy(dtype=float)
    ratio = np.max(np.maximum(again / row["value"], row["value"] / again), initial=1.0)
    return f"the same labels were measured again, {ratio:.3g} times apart: a setting that is not published" if ratio > _APART else ""


def _falls_with_load(row: Mapping[Any, Any], alike: pd.DataFrame) -> str:
    """First tokens that come sooner under more clients: no queue does that."""
    if row["quantity"] != "ttft_ms":
        return ""
    busier = alike[alike["concurrency"] > row["concurrency"]]
    less = busier[busier["value"] < row["value"] / _APART].sort_values("concurrency")
    if less.empty:
        return ""
    first = less.iloc[0]
    disturbed = "a cold start, or another disturbance of the measurement"
    return f"{first['concurrency']:.4g} clients waited {row['value'] / first['value']:.3g} times less, which no queue does: {disturbed}"


def _waits_for_a_place(row: Mapping[Any, Any], run: pd.Series[float]) -> str:
    """Requests that wait for their first token longer than the engine foresees, at the cost of decoding together."""
    first_s, life_s = _lives_s(row, run)
    running = float(row.get("concurrency") or math.nan) * (1.0 - first_s / life_s)
    if row["quantity"] != "ttft_ms" or math.isnan(running) or first_s < _WAITING * life_s or row["value"] < _APART * row["predicted"]:
        return ""
    return f"{running:.3g} of {row['concurrency']:.4g} clients' requests decoded at a time: a limit of batch, cache or prefill that is not published"
