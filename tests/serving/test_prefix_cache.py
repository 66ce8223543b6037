"""Prefix hits: the measured curve read at other sizes and rates, and the load at which the spare KV pool and the hits that it serves agree."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import accelmodel as am
from accelmodel.catalog.workloads import Workload
from accelmodel.cli.main import execute
from accelmodel.core.replica import Replica
from accelmodel.serving.prefix_cache import HitCurve, solve_hits
from accelmodel.studies.points import library
from situations import close, copy_of, with_parameters

# Mooncake's conversation trace, 3.40 requests/s: share of input tokens that an LRU cache of so many tokens served.
MOONCAKE = "mooncake-conversation"
SIZES, SERVED, RATE = [0.5e6, 2.6e6, 5.1e6, 15e6, 26e6], [0.045, 0.113, 0.215, 0.332, 0.362], 3.40
CURVE = HitCurve(np.array(SIZES), np.array(SERVED), RATE)
LENGTHS = {"input_tokens": 12_035, "output_tokens": 343}


def hits(tokens: float, requests_per_s: float = RATE) -> float:
    return float(CURVE.at(np.array([tokens]), np.array([requests_per_s]))[0])


@cache
def chips(count: int = 1, **options: Any) -> Replica:
    return am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=count, attention_data_parallel=count, **options)


def spare_tokens(p: am.Point) -> float:
    """What the running requests, each half-way through its output, leave of the pool."""
    return max(p.kv_capacity_tokens - p.running_requests * (p.input_tokens + p.output_tokens / 2), 0.0)


# --- the curve ------------------------------------------------------------------------------------------------------------------------------


def test_the_catalogues_curve_is_the_measured_one():
    workload = library().workload(MOONCAKE)
    assert [point.cache.si for point in workload.prefix_hits] == close(SIZES)
    assert [point.fraction.si for point in workload.prefix_hits] == close(SERVED)
    assert workload.requests_per_s is not None
    assert workload.requests_per_s.si == close(RATE)
    # 12,031 requests in 59 minutes.
    assert workload.requests_per_s.si == pytest.approx(12_031 / (59 * 60), rel=1e-3)


@pytest.mark.parametrize(("tokens", "fraction"), list(zip(SIZES, SERVED, strict=True)))
def test_the_curve_passes_through_what_was_measured(tokens: float, fraction: float):
    assert hits(tokens) == close(fraction)


@pytest.mark.parametrize(
    ("tokens", "fraction"),
    [
        (0.0, 0.0),
        (50_000.0, 0.0045),  # a tenth of the smallest serves a tenth
        (0.25e6, 0.0225),
        (1.1401754250991378e6, 0.079),  # sqrt(0.5 x 2.6): half-way from 4.5 to 11.3 %
        (8.746427842267951e6, 0.2735),  # sqrt(5.1 x 15): half-way from 21.5 to 33.2 %
        (3.64143e6, 0.164),  # sqrt(2.6 x 5.1)
        (30e6, 0.362),
        (1e12, 0.362),
    ],
)
def test_the_curve_between_below_and_beyond(tokens: float, fraction: float):
    assert hits(tokens) == pytest.approx(fraction, rel=1e-5, abs=1e-15)


def test_ten_million_tokens_by_hand():
    # ln(10 / 5.1) / ln(15 / 5.1) = 0.673345 / 1.078810 = 0.624155 of the way from 21.5 to 33.2 %: 0.215 + 0.117 x 0.624155 = 0.288026.
    assert hits(10e6) == pytest.approx(0.288026, abs=1e-6)


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 7.0])
def test_a_cache_survives_in_proportion_to_the_time_between_requests(factor: float):
    # What counts is cache over rate: twice the rate with twice the cache serves the same.
    for tokens in (0.1e6, 0.5e6, 3e6, 20e6, 1e9):
        assert hits(factor * tokens, factor * RATE) == close(hits(tokens))
    # At 6.8 requests/s 5.2 million tokens are as 2.6 million at 3.4.
    assert hits(5.2e6, 6.8) == close(0.113)


def test_more_cache_never_serves_less_and_more_requests_never_more():
    tokens, rates = np.geomspace(1e3, 1e9, 500), np.geomspace(0.01, 1000, 500)
    assert (np.diff(CURVE.at(tokens, np.full(500, RATE))) >= 0).all()
    assert (np.diff(CURVE.at(np.full(500, 3e6), rates)) <= 0).all()
    whole = CURVE.at(tokens[:, None], rates[None, :])
    assert whole.shape == (500, 500)
    assert ((whole >= 0) & (whole <= 0.362)).all()


# --- the load and its cache -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["continuous", "static", "disaggregated"])
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("concurrency", [0.5, 1, 7, 30, 120])
def test_hits_and_the_load_that_they_make_agree(count: int, concurrency: float, mode: str):
    one = chips(count, mode=mode)
    found = am.evaluate(one, **LENGTHS, concurrency=concurrency, prefix_cache=MOONCAKE)
    again = am.evaluate(one, **LENGTHS, concurrency=concurrency, prefix_hit_fraction=found.prefix_hit_fraction)
    assert again.to_dict() == found.to_dict()
    served = hits(spare_tokens(again), again.output_tokens_per_s / 343)
    assert found.prefix_hit_fraction == pytest.approx(served, abs=1e-6)


def test_hits_and_the_load_agree_under_a_cap_on_power():
    one = am.replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", power_cap_w=300.0)
    p = am.evaluate(one, **LENGTHS, concurrency=20, prefix_cache=MOONCAKE)
    assert p.prefix_hit_fraction == pytest.approx(hits(spare_tokens(p), p.output_tokens_per_s / 343), abs=1e-6)


def test_a_full_pool_serves_nothing():
    # No room is kept for answers to grow into; where some is, cached blocks lie there meanwhile.
    full = chips()
    one = copy_of(full, calibration=with_parameters(full.calibration, kv_reserved_fraction=0.0))
    p = am.evaluate(one, **LENGTHS, concurrency=200, prefix_cache=MOONCAKE)
    assert p.waiting_requests > 0
    assert p.prefix_hit_fraction == 0.0
    plain = am.evaluate(one, **LENGTHS, concurrency=200)
    assert p.to_dict() == plain.to_dict()


def test_hits_fall_with_the_clients_and_rise_with_the_spare_pool():
    table = am.evaluate(chips(8), **LENGTHS, concurrency=np.geomspace(1, 400, 60), prefix_cache=MOONCAKE)
    assert (np.diff(table["prefix_hit_fraction"].to_numpy()) <= 1e-8).all()
    # The same load with more memory: only the spare pool grows.
    served = []
    for factor in (1.0, 1.1, 1.5, 2.0, 4.0, 16.0, 256.0):
        constants = chips(8).constants.copy()
        constants["pool_bytes"] *= factor
        served.append(solve_hits(constants, *(np.array([value]) for value in (12_035.0, 343.0, 100.0)), CURVE)[0])
    assert all(more >= less for less, more in itertools.pairwise(served))
    assert served[-1] == close(0.362, 1e-8)
    assert served[0] < 0.2


def test_a_smaller_cache_entry_leaves_more_to_serve():
    plain, half = (am.evaluate(chips(8, kv=kv), **LENGTHS, concurrency=50, prefix_cache=MOONCAKE) for kv in ("bf16", "fp8"))
    assert half.kv_capacity_tokens == pytest.approx(2 * plain.kv_capacity_tokens)
    assert half.prefix_hit_fraction > plain.prefix_hit_fraction
    assert half.time_to_first_token_s < plain.time_to_first_token_s


def test_arrays_are_their_points():
    loads = np.array([1.0, 20.0, 100.0, 400.0])
    table = am.evaluate(chips(8), **LENGTHS, concurrency=loads, prefix_cache=MOONCAKE)
    for load, fraction in zip(loads, table["prefix_hit_fraction"].to_pylist(), strict=True):
        alone = am.evaluate(chips(8), **LENGTHS, concurrency=load, prefix_cache=MOONCAKE)
        assert isinstance(alone, am.Point)
        assert alone.prefix_hit_fraction == pytest.approx(fraction, abs=1e-8)


def test_a_request_that_does_not_fit_has_no_hits():
    one = am.replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=1)  # 141 GB of weights in 80
    p = am.evaluate(one, **LENGTHS, concurrency=1, prefix_cache=MOONCAKE)
    assert (p.fits, p.prefix_hit_fraction, p.time_to_first_token_s) == (False, 0.0, None)


def test_a_workload_is_taken_by_object_and_by_alias():
    by_name, by_object = (am.evaluate(chips(), **LENGTHS, concurrency=2, prefix_cache=which) for which in (MOONCAKE, library().workload(MOONCAKE)))
    assert by_name.to_dict() == by_object.to_dict()


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"prefix_cache": "chat"}, "prefix_cache", "has no measured curve of prefix hits"),
        ({"prefix_cache": "mooncake-conversatin"}, "workload", "did you mean 'mooncake-conversation'"),
        ({"prefix_hit_fraction": 0.3}, "prefix_cache", "no prefix_hit_fraction beside it"),
        ({"concurrency": None, "requests_per_s": 1.0}, "prefix_cache", "needs a concurrency"),
        ({"concurrency": None, "ttft_s": 1.0}, "prefix_cache", "needs a concurrency"),
        ({"concurrency": None}, "concurrency", "give a load"),
        ({"concurrency": -1.0}, "concurrency", "above 0"),
    ],
)
def test_wrong_input_says_what_is_missing(options: dict[str, Any], key: str, words: str):
    known = set(library().files("workloads"))
    if options.get("prefix_cache") == "chat":
        options = {"prefix_cache": next(name for name in sorted(known) if not library().workload(name).prefix_hits)}
    with pytest.raises(am.InputError, match=words) as caught:
        am.evaluate(chips(), **LENGTHS | {"concurrency": 4, "prefix_cache": MOONCAKE} | options)
    assert caught.value.key == key


def test_the_command_takes_a_curve_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "--model", "llama-3.1-8b", "--system", "p5.48xlarge", "--accelerators", "1", "--input-tokens", "12035", "--output-tokens", "343"]
    assert execute([*command, "--concurrency", "2", "--prefix-cache", MOONCAKE, "--format", "json"]) == 0
    printed = capsys.readouterr().out
    expected = am.evaluate(am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1), **LENGTHS, concurrency=2, prefix_cache=MOONCAKE)
    assert str(expected.prefix_hit_fraction) in json.dumps(json.loads(printed))
    assert execute([*command, "--ttft-s", "1", "--prefix-cache", MOONCAKE]) == 2


# --- the record -----------------------------------------------------------------------------------------------------------------------------


def workload(sizes: list[float], *, rate: bool = True) -> Workload:
    fraction = {"value": 0.2, "kind": "estimated", "unit": "1", "low": 0.1, "high": 0.3}
    tokens = {"value": 1000, "unit": "token", "kind": "estimated", "low": 500, "high": 2000}
    return Workload.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "figures": {"input_tokens": tokens, "output_tokens": tokens},
            "prefix_hits": [{"cache": {"value": size, "unit": "Mtok", "kind": "estimated", "low": size, "high": size}, "fraction": fraction} for size in sizes],
            **({"requests_per_s": {"value": 2, "unit": "request/s", "kind": "estimated", "low": 1, "high": 3}} if rate else {}),
        }
    )


def test_a_curve_rises_and_has_the_rate_of_its_trace():
    assert [point.cache.si for point in workload([1, 2]).prefix_hits] == close([1e6, 2e6])
    for sizes in ([2, 1], [1, 1]):
        with pytest.raises(ValidationError, match="must rise"):
            workload(sizes)
    with pytest.raises(ValidationError, match="needs the trace's 'requests_per_s'"):
        workload([1, 2], rate=False)
