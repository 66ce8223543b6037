"""Stores that pass the caches by: what is written once and read much later must not first be read from memory, nor drive out what is at work."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

PAST_CACHE_FROM = 1 << 24  # bytes; what fits into the caches is read back sooner from there


@intrinsic  # type: ignore[untyped-decorator]
def store_past_cache(_context: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001  the compiler's types of the arguments
    """array[index] = value for a contiguous array of floats, as a store that LLVM knows to be non-temporal. Joining threads makes it seen by others."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        store = builder.store(arguments[2], builder.gep(target.data, [arguments[1]]), align=8)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.int64, types.float64), code
