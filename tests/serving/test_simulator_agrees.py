"""Closed form and simulator: mean time per output token of the same replicas at the same load, and energy.

A closed loop of N clients is the closed form's own subject. A Poisson server is compared with the closed loop in which a client meets as many others as an
arrival meets there: an arrival at a Poisson server sees the mean of what is in it, a client of N the N - 1 others (Lavenberg and Reiser, J. Appl. Prob. 17,
1980), so that N is where (N - 1) / N of the loop's rate is the server's.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from accelmodel.serving.simulation.energy import energy_j
from accelmodel.serving.simulation.replay import replay, reserved_bytes
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
from accelmodel.studies.points import replica

REPLICAS: dict[str, dict[str, Any]] = {
    "dense": {"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8", "kv": "fp8"},
    "single": {"model": "llama-3.1-8b", "system": "p5.48xlarge", "accelerators": 1},
    "experts": {"model": "qwen3-235b-a22b", "system": "p5en.48xlarge", "expert_parallel": 8, "weights": "fp8"},
    "latent": {"model": "deepseek-r1", "system": "p5en.48xlarge", "expert_parallel": 8, "attention_data_parallel": 8},
    "windows": {"model": "gpt-oss-120b", "system": "p6-b200.48xlarge", "accelerators": 2, "engine": "tensorrt-llm"},
    "neuron": {"model": "llama-3.1-70b", "system": "trn2.48xlarge"},
    "rocm": {"model": "mixtral-8x22b", "system": "mi300x-8"},
}
LOADS = ((1024, 256), (2048, 512), (512, 1024), (4096, 256))
TTFT, TPOT, RATE, WAITING, POWER = (
    OUTPUTS.index(name) for name in ("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "waiting_requests", "power_w")
)


@functools.cache
def constants_of(name: str) -> Any:
    return replica(**REPLICAS[name]).constants


def loop(name: str, load: tuple[int, int], clients: Any) -> Any:
    return closed_loop(constants_of(name), Grid.of(np.array([float(load[0])]), np.array([float(load[1])]), np.asarray(clients, dtype=np.float64), np.zeros(1)))


def lengths(load: tuple[int, int], n: int, rng: np.random.Generator, spread: float) -> tuple[Any, Any]:
    """Lognormal lengths of these means."""
    factors = np.exp(spread * rng.standard_normal((2, n)) - spread**2 / 2)
    return np.maximum(np.rint(load[0] * factors[0]), 1.0), np.maximum(np.rint(load[1] * factors[1]), 2.0)


def mean_tpot_s(requests: Any) -> float:
    return float(((requests["finish_s"] - requests["first_token_s"]) / (requests["output_tokens"] - 1.0)).mean())


def test_closed_loops_agree() -> None:
    errors = []
    for name in REPLICAS:
        for load in LOADS:
            rng = np.random.default_rng(1)
            for clients in (1, 4, 16, 64):
                n = max(40 * clients, 400)
                one = replay(constants_of(name), np.zeros(n), *lengths(load, n, rng, 0.5), clients=clients).requests[5 * clients : -5 * clients]
                errors.append(mean_tpot_s(one) / loop(name, load, [clients])[TPOT, 0] - 1.0)
    assert np.abs(errors).mean() < 0.025
    assert np.abs(errors).max() < 0.10


def poisson_errors(rho: float, spread: float) -> list[float]:
    """Simulated over predicted mean TPOT, less one, of Poisson servers where the closed form has TPOT = TPOT(1) / (1 - rho)."""
    errors = []
    for name in REPLICAS:
        for load in LOADS:
            clients = np.exp(np.linspace(0.0, np.log(2000.0), 4000))
            form = loop(name, load, clients)
            place = int(np.searchsorted(form[TPOT], form[TPOT, 0] / (1.0 - rho)))
            if place == clients.size or form[WAITING, place] > 0.0:
                continue  # the KV pool binds before
            rate = form[RATE, place] / load[1] * (clients[place] - 1.0) / clients[place]
            rng = np.random.default_rng(2)
            n = 20_000
            one = replay(constants_of(name), np.cumsum(rng.exponential(1.0 / rate, n)), *lengths(load, n, rng, spread)).requests[1000:-1000]
            errors.append(mean_tpot_s(one) / form[TPOT, place] - 1.0)
    return errors


@pytest.mark.parametrize(("rho", "mean", "most"), [(0.2, 0.02, 0.06), (0.4, 0.03, 0.10), (0.6, 0.035, 0.13), (0.75, 0.06, 0.18)])
def test_poisson_servers_of_equal_requests_agree(rho: float, mean: float, most: float) -> None:
    errors = np.abs(poisson_errors(rho, 0.0))
    assert errors.size > 20
    assert errors.mean() < mean
    assert errors.max() < most
    assert (errors < 0.10).mean() > 0.85


@pytest.mark.parametrize(("rho", "mean"), [(0.2, 0.03), (0.4, 0.04), (0.6, 0.06)])
def test_poisson_servers_of_mixed_requests_agree_on_average(rho: float, mean: float) -> None:
    assert np.abs(poisson_errors(rho, 0.5)).mean() < mean


@pytest.mark.parametrize("name", ["dense", "experts", "latent", "windows", "neuron"])
def test_energy_agrees(name: str) -> None:
    load, clients, n = (2048, 512), 32, 1500
    c = constants_of(name)
    found = replay(c, np.zeros(n), np.full(n, 2048.0), np.full(n, 512.0), clients=clients)
    duration_s = float(found.requests["finish_s"].max())
    power_w = energy_j(c, found, duration_s, 0.15)[0] / duration_s
    # The closed form counts O steps of a request, the simulator O - 1; at the end the loop runs empty.
    assert power_w == pytest.approx(loop(name, load, [clients])[POWER, 0], rel=0.06)


def test_a_lone_request_takes_what_the_closed_form_says() -> None:
    for name in REPLICAS:
        c = constants_of(name)
        one = replay(c, np.zeros(1), np.array([1024.0]), np.array([257.0])).requests[0]
        form = loop(name, (1024, 257), [1.0])[:, 0]
        assert (one["finish_s"] - one["first_token_s"]) / 256 == pytest.approx(form[TPOT], rel=1e-6)
        # The closed form adds the mean wait for a step that runs already.
        waited = c[0]["first_step_wait_steps"] * form[TPOT]
        assert one["first_token_s"] + one["beside_s"] == pytest.approx(form[TTFT] - waited, rel=1e-9)


@pytest.mark.parametrize("name", ["dense", "experts", "windows"])
def test_closed_loops_beyond_the_pool_agree(name: str) -> None:
    """Forty clients of a pool that admits about twenty: as many run, the others wait, and tokens come as fast."""
    load, clients, n = (2048, 512), 40, 2000
    c = constants_of(name).copy()
    c["pool_bytes"] = 20.5 * reserved_bytes(c, np.array([2048.0]), np.array([512.0]))[0]
    form = dict(zip(OUTPUTS, closed_loop(c, Grid.point(2048.0, 512.0, float(clients), 0.0))[:, 0], strict=True))
    one = replay(c, np.zeros(n), np.full(n, float(load[0])), np.full(n, float(load[1])), clients=clients).requests[5 * clients : -5 * clients]
    span = one["finish_s"].max() - one["finish_s"].min()
    assert form["running_requests"] == pytest.approx(20.5)
    assert (one["finish_s"] - one["admitted_s"]).sum() / span < 20.5
    assert mean_tpot_s(one) == pytest.approx(form["time_per_output_token_s"], rel=0.06)
    assert one["output_tokens"].sum() / span == pytest.approx(form["output_tokens_per_s"], rel=0.1)
    assert (one["first_token_s"] + one["beside_s"] - one["arrival_s"]).mean() == pytest.approx(form["time_to_first_token_s"], rel=0.1)
