"""The one jit decorator, and where its compiled code is kept.

Numba's own cache does not notice an edited callee or constant in another file and would return stale numbers. Compiled code therefore lives in a folder
named by a hash of Numba's version and of every source that a kernel can be made of: the rooms with kernels, and whatever else uses this decorator.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numba
import platformdirs

Function = TypeVar("Function", bound=Callable[..., object])

_PACKAGE = Path(__file__).resolve().parents[1]
_ROOMS_WITH_KERNELS = ("core", "serving", "economics")


def kernel_sources(package: Path = _PACKAGE) -> list[Path]:
    """Every file whose text can change a compiled kernel."""
    rooms = [path for room in _ROOMS_WITH_KERNELS for path in (package / room).rglob("*.py")]
    others = [path for path in package.rglob("*.py") if path not in rooms and "accelmodel.core.jit import" in path.read_text(encoding="utf-8")]
    return sorted({*rooms, *others, package / "columns.py"})


@functools.cache
def cache_folder(package: Path = _PACKAGE) -> Path:
    """The folder of compiled kernels that belongs to exactly these sources and this Numba."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in kernel_sources(package):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    root = os.environ.get("ACCELMODEL_KERNEL_CACHE") or platformdirs.user_cache_dir("accelmodel")
    return Path(root) / f"kernels-{digest.hexdigest()[:16]}"


def is_compiled() -> bool:
    """Whether compiled kernels of these sources lie in the cache already."""
    return any(cache_folder().rglob("*.nbi"))


def jit(function: Function) -> Function:
    """Compile a kernel on first call: cached on disk, the GIL released, IEEE division as in NumPy."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before
    return compiled
