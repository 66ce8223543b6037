"""A replica: one copy of a model on some accelerators under one parallelism and precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from accelmodel.catalog.calibrations import Calibration
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.models import Model, Moe
from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.core.kernels import Constants
    from accelmodel.core.memory import Memory
    from accelmodel.core.operators import Table

Dtype = Literal["bf16", "fp16", "fp8", "fp4", "mxfp4", "nvfp4", "int8", "int4"]
ComputeDtype = Literal["bf16", "fp8", "fp4", "int8"]

# Bytes of one stored weight, scales included: MXFP4 shares 8 bits among 32 weights (OCP MX specification 1.0), NVFP4 among 16, INT4 16 bits among 128.
BYTES_PER_WEIGHT = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "fp4": 0.5 + 1 / 16,
    "nvfp4": 0.5 + 1 / 16,
    "mxfp4": 0.5 + 1 / 32,
    "int4": 0.5 + 2 / 128,
}
FOUR_BIT = ("fp4", "nvfp4", "mxfp4", "int4")


def _check_dtype(key: str, dtype: str | None, allowed: tuple[str, ...]) -> None:
    if dtype is not None and dtype not in allowed:
        raise InputError(f"'{dtype}' is not a dtype", key=key, value=dtype, allowed=allowed)


@dataclass(frozen=True)
class Precision:
    """Dtypes of weights, KV cache and compute; None means: as the model is published, bf16, and the fastest that the accelerator and the weights allow."""

    weights: str | None = None
    kv: str | None = None
    compute: str | None = None

    def __post_init__(self) -> None:
        _check_dtype("weights", self.weights, get_args(Dtype))
        _check_dtype("kv", self.kv, ("bf16", "fp16", "fp8", "int8"))
        _check_dtype("compute", self.compute, get_args(ComputeDtype))


@dataclass(frozen=True)
class Parallelism:
    """How a model is cut. `tensor` counts tensor-parallel ranks (logical cores where an accelerator shows several), `attention_data` the groups of ranks that
    attend to different requests, `expert` the groups among which routed experts are dealt out."""

    tensor: int
    expert: int = 1
    attention_data: int = 1

    @property
    def ranks(self) -> int:
        """Ranks of the replica."""
        return self.tensor * self.attention_data

    @property
    def expert_tensor(self) -> int:
        """Ranks that share one expert's matrices."""
        return self.ranks // self.expert


@dataclass(frozen=True)
class Replica:
    """One copy of a model; everything the operator table is made of. Checked when made: what cannot be combined is refused with the reason."""

    model: Model
    system: System
    accelerator: Accelerator
    accelerators: int
    parallelism: Parallelism
    precision: Precision
    engine: str
    calibration: Calibration
    chunk_tokens: float | None = None

    def __post_init__(self) -> None:
        self._check_ranks()
        self._check_heads()
        self._check_experts()

    def _check_ranks(self) -> None:
        ranks = self.accelerators * self.accelerator.ranks
        if self.parallelism.ranks != ranks:
            detail = f" of {self.accelerator.ranks} ranks each" if self.accelerator.ranks > 1 else ""
            raise InputError(
                f"tensor_parallel {self.parallelism.tensor} x attention_data_parallel {self.parallelism.attention_data} is "
                f"{self.parallelism.ranks} ranks, but {self.accelerators} accelerators{detail} are {ranks}",
                key="tensor_parallel",
                value=self.parallelism.tensor,
            )
        reach = self.system.scale_up[-1].accelerators
        if self.accelerators > self.system.accelerators and self.accelerators > reach:
            raise InputError(
                f"a replica of {self.accelerators} accelerators is larger than system '{self.system.name}', which has {self.system.accelerators}",
                key="accelerators",
                value=self.accelerators,
            )

    def _check_heads(self) -> None:
        tp = self.parallelism.tensor
        if self.pads_heads:
            return
        for group in self.model.architecture.groups:
            heads = getattr(group.attention, "heads", None) or getattr(group.attention, "value_heads", tp)
            if heads % tp:
                legal = [str(size) for size in range(1, heads + 1) if heads % size == 0]
                raise InputError(
                    f"tensor_parallel {tp} does not divide the {heads} attention heads of '{self.model.name}'; it may be {', '.join(legal)}",
                    key="tensor_parallel",
                    value=tp,
                )
            kv_heads = getattr(group.attention, "kv_heads", tp)
            if kv_heads % tp and tp % kv_heads:
                raise InputError(
                    f"tensor_parallel {tp} neither divides the {kv_heads} KV heads of '{self.model.name}' nor is a multiple of them",
                    key="tensor_parallel",
                    value=tp,
                )

    def _check_experts(self) -> None:
        ep = self.parallelism.expert
        if self.parallelism.ranks % ep:
            raise InputError(f"expert_parallel {ep} does not divide the {self.parallelism.ranks} ranks", key="expert_parallel", value=ep)
        experts = [group.ffn.experts for group in self.model.architecture.groups if isinstance(group.ffn, Moe)]
        if ep > 1 and not experts:
            raise InputError(f"expert_parallel {ep}: model '{self.model.name}' has no routed experts", key="expert_parallel", value=ep)
        if any(count % ep for count in experts):
            raise InputError(f"expert_parallel {ep} does not divide the {experts[0]} experts of '{self.model.name}'", key="expert_parallel", value=ep)

    @property
    def pads_heads(self) -> bool:
        """Whether the software pads attention heads to a multiple of the ranks instead of refusing."""
        return self.accelerator.stack == "neuron"

    @property
    def chips_per_attention_group(self) -> int:
        """Accelerators that share one request's attention: the size of its tensor-parallel group."""
        return max(1, self.parallelism.tensor // self.accelerator.ranks)

    @cached_property
    def parameters(self) -> dict[str, float]:
        """The calibration's parameters for this engine and accelerator generation, in SI."""
        return self.calibration.values(self.engine, self.accelerator.generation)

    @property
    def is_extrapolated(self) -> bool:
        """Whether nothing was measured on this accelerator's generation, so that its calibration is carried over."""
        return self.accelerator.generation in self.calibration.extrapolated

    @property
    def kv_dtype(self) -> str:
        """Dtype of the KV cache."""
        return self.precision.kv or "bf16"

    @cached_property
    def table(self) -> Table:
        """The operator table."""
        from accelmodel.core.operators import operator_table

        return operator_table(self)

    @cached_property
    def memory(self) -> Memory:
        """Memory of one rank."""
        from accelmodel.core.memory import memory_of

        return memory_of(self, self.table)

    @cached_property
    def constants(self) -> Constants:
        """The folded constants that the kernels take."""
        from accelmodel.core.kernels import fold

        return fold(self, self.table, self.memory, self.chunk_tokens)

    def weight_dtype(self, component: Literal["attention", "ffn", "expert"]) -> str:
        """Dtype in which a component's weights are stored.

        As published where no `weights` is asked for. Four-bit weights of a mixture of experts are those of its routed experts: published four-bit
        checkpoints leave attention and dense parts in their own dtype.
        """
        architecture = self.model.architecture
        native = (architecture.expert_dtype or architecture.native_dtype) if component == "expert" else architecture.native_dtype
        asked = self.precision.weights
        if asked is None:
            return native
        has_experts = any(isinstance(group.ffn, Moe) for group in architecture.groups)
        return native if asked in FOUR_BIT and has_experts and component != "expert" else asked

    def compute_dtype(self, weights: str) -> ComputeDtype:
        """Dtype in which weights of a dtype are multiplied: their own where the accelerator has a rate for it, else bf16.

        MXFP4 weights meet eight-bit activations; integer weights are expanded to bf16 unless `compute` asks for more.
        """
        figures = self.accelerator.figures
        asked = self.precision.compute
        if asked is not None:
            self.accelerator.need(f"peak_{asked}")
            return asked  # type: ignore[return-value]
        if weights == "fp8" and figures.peak_fp8 is not None:
            return "fp8"
        if weights in ("fp4", "nvfp4") and figures.peak_fp4 is not None:
            return "fp4"
        if weights == "mxfp4" and figures.peak_fp4 is not None and figures.peak_fp8 is not None:
            return "fp8"
        return "bf16"

    def peak(self, dtype: ComputeDtype) -> Figure:
        """The vendor's dense peak of one accelerator."""
        return self.accelerator.need(f"peak_{dtype}")

