"""What measured latencies of single kernels say about the efficiencies of operators, and how far to believe it of a served model.

The kernels' seconds are fitted with the engine's own operator equation (core/operators.py) and a launch in front of it:

    seconds = launch + (memory^4 + compute^4)^(1/4)       matrix multiplications, attention in a decode step, attention in a prefill
    seconds = launch + 2 (g - 1) / g x bytes / link       an all-reduce among g accelerators

once for each table (accelerator, framework, dtypes), in the logarithm, robustly. A parameter's estimate is the middle of the tables; its deviation is
how far tables lie apart, together with how far a kernel in a loop of its own lies from the same kernel in a served model: caches are warm, clocks high,
nothing else runs, and launches are taken off. Prior and kernels are joined by their precisions, in the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from accelmodel.catalog.calibrations import Calibration, deviation_of, moved
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator
from accelmodel.catalog.library import Library
from accelmodel.core.kernels import Array
from accelmodel.core.replica import BYTES_PER_WEIGHT
from accelmodel.errors import InputError
from accelmodel.studies.measured import read

SERVED = 0.15  # deviation, in the logarithm, of an operator in a served model from the kernel alone
_NUMBERS = ("m", "n", "k", "latency_us", "batch", "seq", "heads", "kv_heads", "head_dim", "num_gpus", "bytes")
_NEEDED = ("op", "hardware", "framework", "dtype", "kv_dtype", *_NUMBERS)
_DTYPES = {"bfloat16": "bf16", "half": "fp16", "fp16": "fp16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4"}
_PEAKS = {"bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "nvfp4": "fp4"}
_BEYOND_CACHES = 2e8  # bytes: what is read of a smaller operand may come from a cache, in a loop that runs one kernel again and again
_IMPOSSIBLE = 0.1  # share of kernels faster than the peak from which a table is not believed
_TOLD = 0.2  # deviation, in the logarithm, up to which a table tells a parameter
_END = 1.645  # deviations to the end of a central 90 %
_LEAST = 8  # kernels of a table
_NOISE = 0.1  # deviation of a kernel's logarithm that counts as ordinary
_LARGEST_DOMAIN = 8  # accelerators that reach one another without a second network
# Where a table's fit starts, and is held within a factor of e: efficiencies of memory and of compute, tokens of the floor, seconds of a launch
_START = np.log([0.8, 0.6, 30.0, 5e-6])


@dataclass(frozen=True)
class Work:
    """Kernels of one table: seconds at the vendor's peaks for memory, for compute and for one more token, and seconds as measured."""

    parameters: tuple[str | None, str | None]  # the efficiencies of memory and of compute
    memory_s: Array
    compute_s: Array
    token_s: Array
    seconds: Array

    def where(self, kept: npt.NDArray[np.bool_]) -> Work:
        """Some of the kernels."""
        return Work(self.parameters, self.memory_s[kept], self.compute_s[kept], self.token_s[kept], self.seconds[kept])


@dataclass(frozen=True)
class Estimate:
    """What kernels say of a parameter: the middle of the tables, how far they lie apart (in the logarithm), how many they are, and of what stacks."""

    value: float
    deviation: float
    tables: int
    stacks: frozenset[str]


def estimates(kernels: str | Path | pd.DataFrame, catalog: Library) -> dict[str, Estimate]:
    """Parameter -> what the kernels of a file say of it; InputError where it cannot be read."""
    told: dict[str, list[tuple[float, str]]] = {}
    for stack, work in _works(read(kernels, _NEEDED, "latency_us"), catalog):
        for name, (log_value, deviation) in fitted(work).items():
            if deviation < _TOLD:
                told.setdefault(name, []).append((log_value, stack))
    return {name: _middle([log for log, _ in of], frozenset(stack for _, stack in of)) for name, of in sorted(told.items())}


def _middle(logs: list[float], stacks: frozenset[str]) -> Estimate:
    """The tables' middle, and how far they lie apart as the middle half tells it: a table or two may be of another world."""
    lower, middle, upper = np.quantile(logs, (0.25, 0.5, 0.75))
    return Estimate(math.exp(middle), float(upper - lower) / 1.349, len(logs), stacks)


def joined(figure: Figure, estimate: Estimate, served: float = SERVED) -> tuple[float, float]:
    """(centre in SI, deviation in the logarithm) of a parameter once its prior and what kernels say of it are weighted by their precisions."""
    prior, kernels = deviation_of(figure) ** -2.0, 1.0 / (estimate.deviation**2 + served**2)
    centre = (prior * math.log(figure.si) + kernels * math.log(estimate.value)) / (prior + kernels)
    return math.exp(centre), (prior + kernels) ** -0.5


def informed(prior: Calibration, kernels: Mapping[str, Estimate], served: float = SERVED) -> Calibration:
    """A prior whose efficiencies are joined with what kernels of its software stacks say of them; the prior itself where they say nothing."""
    told = {name: one for name, one in kernels.items() if one.stacks & set(prior.stacks)}
    if not told:
        return prior
    figures = {}
    for name, one in told.items():
        figure = getattr(prior.parameters, name)
        centre, deviation = joined(figure, one, served)
        low, high = (centre * math.exp(sign * _END * deviation) for sign in (-1.0, 1.0))
        figures[name] = moved(figure, centre, low, high)
    return prior.model_copy(update={"parameters": prior.parameters.model_copy(update=figures)})


def fitted(work: Work) -> dict[str, tuple[float, float]]:
    """Parameter -> logarithm of the efficiency and its deviation, from one table."""

    def residual(x: Array) -> Array:
        memory = work.memory_s / math.exp(x[0])
        compute = (work.compute_s + work.token_s * math.exp(x[2])) / math.exp(x[1])
        log_seconds = np.log(math.exp(x[3]) + (memory**4 + compute**4) ** 0.25)
        return np.concatenate([(log_seconds - np.log(work.seconds)) / _NOISE, x - _START])

    found = least_squares(residual, _START, loss="soft_l1")
    deviation = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
    return {name: (float(found.x[index]), float(deviation[index])) for index, name in enumerate(work.parameters) if name is not None}


def _works(kernels: pd.DataFrame, catalog: Library) -> Iterator[tuple[str, Work]]:
    """Software stack and kernels of the tables of a file that can be believed, of accelerators and dtypes that the catalogue knows."""
    for (op, hardware, _, dtype, kv_dtype), table in kernels.groupby(["op", "hardware", "framework", "dtype", "kv_dtype"], sort=True, dropna=False):
        make = _OPERATORS.get(str(op))
        try:
            accelerator = catalog.accelerator(str(hardware))
        except InputError:
            continue
        if make is None or str(dtype) not in _DTYPES:
            continue
        columns = {name: table[name].to_numpy(dtype=float) for name in _NUMBERS}
        work = make(columns, accelerator, _DTYPES[str(dtype)], _DTYPES.get(str(kv_dtype), "bf16"))
        # A matrix multiplication, or the reading of a cache, that is small and waits for memory tells of caches.
        beyond = work.memory_s * accelerator.need("hbm_bandwidth").si >= _BEYOND_CACHES
        work = work.where(beyond | (work.compute_s > 2.0 * work.memory_s) | (work.parameters[0] == "link_efficiency"))
        if len(work.seconds) >= _LEAST and np.mean(work.memory_s > work.seconds) < _IMPOSSIBLE:
            yield accelerator.stack, work


Columns = Mapping[str, Array]


def _gemm(columns: Columns, accelerator: Accelerator, dtype: str, _kv: str) -> Work:
    """Weights are read once; every token, and those of the floor, multiplies all of them."""
    weights = columns["n"] * columns["k"]
    token_s = 2.0 * weights / accelerator.need(f"peak_{_PEAKS[dtype]}").si
    memory_s = weights * BYTES_PER_WEIGHT[dtype] / accelerator.need("hbm_bandwidth").si
    return Work(("weight_bandwidth_efficiency", f"compute_efficiency_{_PEAKS[dtype]}"), memory_s, token_s * columns["m"], token_s, columns["latency_us"] * 1e-6)


def _decode(columns: Columns, accelerator: Accelerator, _dtype: str, kv: str) -> Work:
    """Keys and values are read once a step."""
    kept = 2.0 * columns["batch"] * columns["seq"] * columns["kv_heads"] * columns["head_dim"] * BYTES_PER_WEIGHT[kv]
    none = 0.0 * kept
    return Work(("kv_bandwidth_efficiency", None), kept / accelerator.need("hbm_bandwidth").si, none, none, columns["latency_us"] * 1e-6)


def _prefill(columns: Columns, accelerator: Accelerator, _dtype: str, _kv: str) -> Work:
    """Queries meet the lower triangle of keys, and of values."""
    flop = 4.0 * columns["batch"] * columns["heads"] * columns["head_dim"] * columns["seq"] ** 2 / 2.0
    none = 0.0 * flop
    return Work((None, "attention_compute_efficiency"), none, flop / accelerator.need("peak_bf16").si, none, columns["latency_us"] * 1e-6)


def _all_reduce(columns: Columns, accelerator: Accelerator, _dtype: str, _kv: str) -> Work:
    """A ring: 2 (g - 1) / g of the payload leaves every accelerator."""
    members = columns["num_gpus"]
    sent_s = 2.0 * (members - 1.0) / members * columns["bytes"] / accelerator.need("scale_up_bandwidth").si
    none = 0.0 * sent_s
    return Work(("link_efficiency", None), sent_s, none, none, columns["latency_us"] * 1e-6).where(members <= _LARGEST_DOMAIN)


_OPERATORS: Mapping[str, Callable[[Columns, Accelerator, str, str], Work]] = {
    "gemm": _gemm,
    "attn_decode": _decode,
    "attn_prefill": _prefill,
    **dict.fromkeys(("nccl_all_reduce", "custom_allreduce", "vidur_all_reduce"), _all_reduce),
}
