"""A million draws of uncertain inputs, from their points to cost and margin; beside the deterministic call that each of them replaces."""

from __future__ import annotations

import os
from typing import Any

import pytest

import accelmodel as am
from accelmodel.studies.inputs import design_of, inputs_of
from accelmodel.studies.run import Context
from accelmodel.studies.scenario import load
from accelmodel.studies.uncertainty import draw, running

DRAWS = 1 << 20
# Scenario, study, case, what is asked: one shape of request, so that latencies are looked up; lengths that vary, so that every draw is a search of its own
CHAINS = {
    "cost, one shape of request": ("trainium3-price-unknown", "choice", "trainium3", ["cost_usd_per_mtok"]),
    "cost and margin, lengths and hits that vary": ("margin-risk", "risk", "b200", ["cost_usd_per_mtok", "margin_fraction"]),
}


def prepared(scenario: str, study: str, case: str) -> tuple[Any, Any, Any]:
    """Context, design and alternatives of one case of a shipped scenario's study."""
    library = am.Library()
    path, parsed = load(scenario, library)
    context, asked = Context(parsed, library, path.parent), parsed.studies[study]
    alternatives, _ = running(context, study, asked, [case])
    inputs = inputs_of(context, study, asked, [one.cell for one in alternatives])
    return context, design_of(context, asked, inputs), alternatives


@pytest.mark.parametrize("name", CHAINS)
def test_draws(benchmark: Any, name: str) -> None:
    """DRAWS draws of every input behind one case, two threads."""
    *where, wanted = CHAINS[name]
    context, design, alternatives = prepared(*where)
    draw(context, design, alternatives, [wanted], 1 << 15, 16)  # compiles
    before = os.times()
    found = benchmark.pedantic(draw, (context, design, alternatives, [wanted], DRAWS, 16), rounds=5)
    after = os.times()
    benchmark.extra_info |= {"draws": DRAWS, "inputs": len(design.inputs), "cpu_s_per_round": (after.user + after.system - before.user - before.system) / 5}
    assert found[0][wanted[0]].shape == (DRAWS,)
