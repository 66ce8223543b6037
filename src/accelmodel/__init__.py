"""What a million tokens cost on an AI accelerator, what margin they leave, and how much hardware, power and money a demand needs.

Names are imported when first used, so that `import accelmodel` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelmodel import catalog
    from accelmodel.catalog.library import Library
    from accelmodel.core.replica import Replica
    from accelmodel.errors import DoesNotFitError, InputError
    from accelmodel.studies.anchor import anchor
    from accelmodel.studies.calibrate import calibrate
    from accelmodel.studies.diff import Difference, diff
    from accelmodel.studies.explain import explain
    from accelmodel.studies.optimize import optimize
    from accelmodel.studies.points import Point, evaluate, replica
    from accelmodel.studies.proof import Proof, Targets, prove
    from accelmodel.studies.run import Run, run
    from accelmodel.studies.simulate import Pool, Simulation, simulate
    from accelmodel.studies.traces import Client, Trace
    from accelmodel.studies.validate import Report, validate

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Difference",
    "DoesNotFitError",
    "InputError",
    "Library",
    "Point",
    "Pool",
    "Proof",
    "Replica",
    "Report",
    "Run",
    "Simulation",
    "Targets",
    "Trace",
    "anchor",
    "calibrate",
    "catalog",
    "diff",
    "evaluate",
    "explain",
    "optimize",
    "prove",
    "replica",
    "run",
    "simulate",
    "validate",
]

_HOME = {
    "Client": "studies.traces",
    "Difference": "studies.diff",
    "DoesNotFitError": "errors",
    "InputError": "errors",
    "Library": "catalog.library",
    "Point": "studies.points",
    "Pool": "studies.simulate",
    "Proof": "studies.proof",
    "Replica": "core.replica",
    "Report": "studies.validate",
    "Run": "studies.run",
    "Simulation": "studies.simulate",
    "Targets": "studies.proof",
    "Trace": "studies.traces",
    "anchor": "studies.anchor",
    "calibrate": "studies.calibrate",
    "diff": "studies.diff",
    "evaluate": "studies.points",
    "explain": "studies.explain",
    "optimize": "studies.optimize",
    "prove": "studies.proof",
    "replica": "studies.points",
    "run": "studies.run",
    "simulate": "studies.simulate",
    "validate": "studies.validate",
}


def __getattr__(name: str) -> Any:
    if name == "catalog":
        return importlib.import_module("accelmodel.catalog")
    if name not in _HOME:
        raise AttributeError(f"module 'accelmodel' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"accelmodel.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
