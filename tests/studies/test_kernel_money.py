"""Money inside the compiled grid against the arithmetic of `economics` on arrays; plans of columns; points alone, in arrays and in threads."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.catalog.library import Library
from accelmodel.core.replica import Replica
from accelmodel.economics import attribution, kernels, margin
from accelmodel.economics.tokens import BusyShares, TokenPrices, TokenRates
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
from accelmodel.studies.kernel import run
from accelmodel.studies.money import money
from accelmodel.studies.points import plan
from situations import close

Array = np.ndarray[Any, np.dtype[np.float64]]
REPLICAS: dict[str, dict[str, Any]] = {
    "dense": {"model": "llama-3.3-70b", "system": "p5.48xlarge", "weights": "fp8"},
    "experts": {"model": "gpt-oss-120b", "system": "p6-b200.48xlarge", "accelerators": 2, "attention_data_parallel": 2, "expert_parallel": 2},
    "apart": {
        "model": "llama-3.3-70b",
        "system": "p5.48xlarge",
        "mode": "disaggregated",
        "speculative_tokens": 2,
        "acceptance_fraction": 0.0,
        "draft_model": "llama-3.1-8b",
    },
    "cores": {"model": "llama-3.3-70b", "system": "trn2-ultraserver", "accelerators": 4, "weights": "fp8"},
    "capped": {"model": "llama-3.3-70b", "system": "p5.48xlarge", "weights": "fp8", "power_cap_w": 400.0},
}
every_replica = pytest.mark.parametrize("name", sorted(REPLICAS))


@functools.cache
def replica(name: str) -> Replica:
    return am.replica(**REPLICAS[name])


def loads(count: int, seed: int = 3) -> dict[str, Array]:
    """Loads from a trickle to beyond the pool; some have no cached input."""
    rng = np.random.default_rng(seed)
    return {
        "input_tokens": rng.integers(1, 60_000, count).astype(float),
        "output_tokens": rng.integers(1, 4_000, count).astype(float),
        "concurrency": np.exp(rng.uniform(-1, 8, count)),
        "prefix_hit_fraction": np.where(rng.random(count) < 0.7, rng.uniform(0, 0.99, count), 0.0),
    }


def columns(of: Any) -> dict[str, Array]:
    """Columns of numbers, NaN where there is none."""
    return {name: of[name].to_numpy() for name in of.column_names if of.schema.field(name).type == "double"}


# --- scalars and arrays of the same arithmetic ---------------------------------------------------------------------------------------------


def test_attribution_of_scalars_is_that_of_arrays():
    rng = np.random.default_rng(1)
    rates = TokenRates(*np.exp(rng.uniform(-5, 12, (3, 500))))
    for stream in rates.streams:
        stream[rng.random(500) < 0.1] = 0.0  # type: ignore[index]
    cost = np.exp(rng.uniform(-3, 8, 500))
    busy = rng.dirichlet([1.0, 1.0, 1.0], 500).T
    weight = np.array([np.where(np.asarray(rate) > 0, share, 0.0) for rate, share in zip(rates.streams, busy, strict=True)])
    with np.errstate(invalid="ignore"):
        shares = weight / weight.sum(axis=0)
    by_arrays = attribution.attribute(cost, rates, convention="device-time", busy=BusyShares(*busy))
    for i in range(500):
        for share, rate, expected in zip(shares[:, i], rates.streams, by_arrays.streams, strict=True):
            assert kernels.cost_usd_per_mtok(cost[i] * share, np.asarray(rate)[i]) == close(np.asarray(expected)[i])
        assert kernels.cost_usd_per_mtok(cost[i], rates.tokens_per_s[i]) == close(np.asarray(by_arrays.cost_usd_per_mtok)[i])  # type: ignore[index]


def test_revenue_and_margin_of_scalars_are_those_of_arrays():
    rng = np.random.default_rng(2)
    rates, prices = np.exp(rng.uniform(-5, 12, (3, 500))), np.exp(rng.uniform(-4, 5, (3, 500)))
    rates[rng.random((3, 500)) < 0.1] = 0.0
    rates[:, :5] = 0.0
    cost = np.exp(rng.uniform(-3, 8, 500))
    revenue = np.asarray(margin.token_revenue_usd_per_h(TokenRates(*rates), TokenPrices(*prices)))
    share = np.asarray(margin.margin_fraction(revenue, cost))
    assert np.isnan(share[:5]).all()
    for i in range(500):
        assert kernels.revenue_usd_per_h(*rates[:, i], *prices[:, i]) == close(revenue[i])
        assert kernels.margin_fraction(revenue[i], cost[i]) == close(share[i])


def test_a_million_tokens_by_hand():
    # 36 USD an hour at 1,000 tokens a second, 3.6 million an hour: 10 USD a million. At 4, 0.4 and 16 USD a million for 500, 300 and 200 tokens a
    # second, 1.8 x 4 + 1.08 x 0.4 + 0.72 x 16 = 19.152 USD an hour, of which 12 are 62.66 %.
    assert kernels.cost_usd_per_mtok(36.0, 1000.0) == close(10.0)
    assert kernels.revenue_usd_per_h(500.0, 300.0, 200.0, 4.0, 0.4, 16.0) == close(19.152)
    assert kernels.margin_fraction(19.152, 12.0) == close(1 - 12 / 19.152)
    assert np.isnan([kernels.cost_usd_per_mtok(36.0, 0.0), kernels.margin_fraction(0.0, 1.0)]).all()


# --- the grid's money ----------------------------------------------------------------------------------------------------------------------


OFFERS: list[tuple[str, ...]] = [(), ("bedrock",), ("on-demand",), ("on-demand", "bedrock")]


@pytest.mark.parametrize("occupancy", [0.35, 1.0])
# Nobody publishes an on-demand price of the accelerator with several cores.
@pytest.mark.parametrize(("name", "offer"), [(name, offer) for name in sorted(REPLICAS) for offer in OFFERS if name != "cores" or "on-demand" not in offer])
def test_money_columns_follow_from_the_rates(name: str, offer: tuple[str, ...], occupancy: float):
    one, given = replica(name), loads(300)
    terms = money(one, offer=offer, occupancy=occupancy)
    table = am.evaluate(one, **given, offer=offer or None, occupancy=occupancy)
    c, hit = columns(table), given["prefix_hit_fraction"]
    fits = np.array(table["fits"].to_pylist())
    assert fits.sum() > 200

    cost = np.where(fits, terms.replica_cost_usd_per_h(one, c["power_w"]), np.nan)
    assert c["replica_cost_usd_per_h"].tolist() == close(cost.tolist())
    inputs, outputs = c["input_tokens_per_s"] * occupancy, c["output_tokens_per_s"] * occupancy
    rates = TokenRates(inputs * (1 - hit), inputs * hit, outputs)
    busy = BusyShares(c["prefill_time_fraction"] - c["cached_time_fraction"], c["cached_time_fraction"], 1 - c["prefill_time_fraction"])
    expected = attribution.attribute(cost, rates, busy=busy)
    for column, value in vars(expected).items():
        assert c[column].tolist() == close(np.asarray(value).tolist(), 1e-11), column
    if terms.token_prices is None:
        assert not {"revenue_usd_per_h", "margin_fraction"} & c.keys()
        return
    revenue = np.asarray(margin.token_revenue_usd_per_h(rates, terms.token_prices))
    assert c["revenue_usd_per_h"].tolist() == close(revenue.tolist())
    # The margin passes through 0: as many digits of what is subtracted from 1.
    np.testing.assert_allclose(1 - c["margin_fraction"], np.asarray(cost / revenue), rtol=1e-11)


def test_hours_of_the_clouds_own_accelerators():
    # 55.04 USD an hour for eight (EC2 list price since June 2025), at an occupancy of 0.6.
    one, given = replica("dense"), loads(50)
    c = columns(am.evaluate(one, **given, offer="on-demand", books="cloud", occupancy=0.6))
    runs = ~np.isnan(c["power_w"])
    assert set(c["revenue_usd_per_h"][runs].tolist()) == {55.04 * 0.6}
    np.testing.assert_allclose(c["margin_fraction"], np.asarray(margin.margin_fraction(55.04 * 0.6, c["replica_cost_usd_per_h"])), rtol=1e-12)


@pytest.mark.parametrize("name", ["dense", "cores", "apart"])
def test_the_whole_cost_is_attributed_where_all_input_is_cached(name: str):
    p = am.evaluate(replica(name), input_tokens=2000, output_tokens=300, concurrency=20, prefix_hit_fraction=1.0, occupancy=1.0)
    assert p.cost_usd_per_mtok_input is None
    borne = p.input_tokens_per_s * p.cost_usd_per_mtok_cached_input + p.output_tokens_per_s * p.cost_usd_per_mtok_output
    assert borne * 3600 / 1e6 == close(p.replica_cost_usd_per_h)


def test_an_unknown_price_is_null_in_a_table_as_in_a_point():
    one = am.replica(model="llama-3.1-8b", system="tpu-v6e-8")
    assert am.evaluate(one, input_tokens=1000, output_tokens=200, concurrency=4).cost_usd_per_mtok is None
    table = am.evaluate(one, input_tokens=1000, output_tokens=200, concurrency=[4, 8])
    assert table["cost_usd_per_mtok"].to_pylist() == [None, None]


# --- plans ---------------------------------------------------------------------------------------------------------------------------------


def test_bounds_are_lines_in_what_they_bound():
    one = replica("dense")
    assert one.spread is not None
    made = plan(one, money(one, offer=("on-demand", "bedrock")), None)
    lines = dict(zip(made.wanted.names, zip(made.wanted.offset.tolist(), made.wanted.scale.tolist(), strict=True), strict=True))
    place = dict(zip(made.wanted.names, made.wanted.places.tolist(), strict=True))
    for name, metric in (
        ("time_to_first_token_s", "time_to_first_token"),
        ("time_per_output_token_s", "time_per_output_token"),
        ("output_tokens_per_s", "throughput"),
        ("cost_usd_per_mtok_output", "throughput"),
        ("cost_usd_per_mtok", "throughput"),
    ):
        factor = getattr(one.spread, metric).si
        assert factor > 1
        assert (lines[name + "_low90"], lines[name + "_high90"]) == ((0.0, 1 / factor), (0.0, factor))
        assert place[name + "_low90"] == place[name + "_high90"] == place[name]
    # Cost over revenue, c = 1 - m, is a factor f larger at worst: m becomes 1 - f (1 - m).
    factor = one.spread.throughput.si
    assert lines["margin_fraction_low90"] == (1 - factor, factor)
    assert lines["margin_fraction_high90"] == (1 - 1 / factor, 1 / factor)
    low, high = ({name.removesuffix(end) for name in lines if name.endswith(end)} for end in ("_low90", "_high90"))
    assert low == high


def test_a_wider_spread_where_nothing_was_measured():
    measured, carried_over = (am.replica(model="llama-3.1-8b", system=system, accelerators=4) for system in ("p5.48xlarge", "trn3-ultraserver-gen2"))
    assert (measured.is_extrapolated, carried_over.is_extrapolated) == (False, True)
    widths = []
    for one in (measured, carried_over):
        p = am.evaluate(one, input_tokens=1000, output_tokens=200, concurrency=8)
        assert p.calibrated == ("extrapolated" if one.is_extrapolated else "measured")
        widths.append(p.time_per_output_token_s_high90 / p.time_per_output_token_s_low90)
    assert widths[0] < widths[1]


def test_an_accelerator_of_a_generation_that_no_calibration_measured_is_said_to_be_extrapolated(tmp_path):
    """One of one's own, whose maker's software is calibrated on others."""
    profiles = Path(am.__file__).parents[2] / "hardware_profiles"
    for kind, name, old, new in (("accelerators", "h100-sxm", 'generation = "hopper"', 'generation = "rubin"'), ("systems", "p5.48xlarge", "", "")):
        text = (profiles / kind / f"{name}.toml").read_text(encoding="utf-8")
        assert old in text
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.toml").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    own, shipped = (am.replica(model="llama-3.1-8b", system="p5.48xlarge", catalog=lib) for lib in (Library(tmp_path), Library()))
    assert (own.is_extrapolated, shipped.is_extrapolated) == (True, False)


@every_replica
def test_columns_alone_are_those_of_the_whole(name: str):
    # Power, what binds and money are left out where nobody wants them; what is asked for does not change.
    one, given, terms = replica(name), loads(300, 4), {"offer": ("bedrock",), "occupancy": 0.5}
    whole = am.evaluate(one, **given, **terms)
    names = [field.name for field in whole.schema]
    for wanted in (*([column] for column in names), ["margin_fraction_low90", "binding", "concurrency"], ["fits", "revenue_usd_per_h", "power_w"], names[::-1]):
        assert am.evaluate(one, **given, **terms, columns=wanted).equals(whole.select(wanted)), wanted


def test_a_plan_makes_only_what_is_needed():
    one = replica("dense")
    owned, rented = money(one), money(one, offer="on-demand")

    def needs(terms: Any, *names: str) -> list[int]:
        return plan(one, terms, names).wanted.needs.tolist()  # type: ignore[no-any-return]

    # Power, binding, money, its split, its sale, speed per user; an owner's cost rests on the draw, a tenant's does not.
    assert needs(owned, "time_to_first_token_s", "fits") == [0, 0, 0, 0, 0, 0]
    assert needs(owned, "binding", "energy_j_per_output_token") == [1, 1, 0, 0, 0, 0]
    assert needs(owned, "cost_usd_per_mtok") == [1, 0, 1, 0, 0, 0]
    assert needs(rented, "cost_usd_per_mtok") == [0, 0, 1, 0, 0, 0]
    assert needs(rented, "cost_usd_per_mtok_output_high90") == [0, 0, 1, 1, 0, 0]
    assert needs(rented, "output_tokens_per_s_per_user") == [0, 0, 0, 0, 0, 1]
    assert needs(money(one, offer=("on-demand", "bedrock")), "margin_fraction_low90") == [0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("column", "key", "words"),
    [("margin_fraction_low90", "offer", "needs an offer that sells tokens"), ("fleet_accelerators", "columns", "no operating point has the column")],
)
def test_a_plan_refuses_columns_that_its_terms_do_not_give(column: str, key: str, words: str):
    with pytest.raises(am.InputError, match=words) as caught:
        plan(replica("dense"), money(replica("dense")), (column,))
    assert caught.value.key == key


# --- alone, in arrays, in threads ----------------------------------------------------------------------------------------------------------


@every_replica
def test_a_point_alone_is_bit_by_bit_the_row_of_an_array(name: str):
    # More than a block of 256, in two axes.
    given = loads(270, 5)
    table = am.evaluate(replica(name), **given, offer="bedrock")
    for i, row in enumerate(table.to_pylist()):
        if i % 3 == 0 or i > 250:
            alone = am.evaluate(replica(name), **{key: float(values[i]) for key, values in given.items()}, offer="bedrock")
            assert alone.to_dict() == row
    by_axes = am.evaluate(
        replica(name), input_tokens=given["input_tokens"][:30, None], output_tokens=100, concurrency=given["concurrency"][None, :40], prefix_hit_fraction=0.3
    )
    for i, j in ((0, 0), (7, 39), (29, 1), (29, 39)):
        alone = am.evaluate(
            replica(name),
            input_tokens=float(given["input_tokens"][i]),
            output_tokens=100,
            concurrency=float(given["concurrency"][j]),
            prefix_hit_fraction=0.3,
        )
        assert by_axes.slice(40 * i + j, 1).to_pylist()[0] == alone.to_dict()


@every_replica
@pytest.mark.parametrize("axes", [False, True])
def test_threads_change_nothing(name: str, axes: bool):
    one, given = replica(name), loads(61_111, 6)
    made = plan(one, money(one, offer="bedrock"), None)
    if axes:
        grid = Grid.of(given["input_tokens"][:311, None], np.float64(100.0), given["concurrency"][None, :199], given["prefix_hit_fraction"][:311, None])
    else:
        grid = Grid.of(*given.values())
    assert grid.size > 50_000  # where threads are used
    (first, misfits), *others = (run(one.constants, one.capped_constants, made.terms, grid, made.wanted, threads) for threads in (1, 2, 3))
    for again, missing in others:
        assert again.tobytes() == first.tobytes()
        assert missing == misfits
    assert misfits == np.isnan(first[made.wanted.names.index("output_tokens_per_s")]).sum()


@every_replica
def test_the_grid_is_the_engine(name: str):
    one, given = replica(name), loads(1000, 7)
    made, grid = plan(one, money(one), None), Grid.of(*given.values())
    out, _ = run(one.constants, one.capped_constants, made.terms, grid, made.wanted, 1)
    engine = closed_loop(one.constants, grid, 1, one.capped_constants)
    for row, column in enumerate(OUTPUTS):
        assert out[made.wanted.names.index(column)].tobytes() == engine[row].tobytes(), column


# --- attribution by convention -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "cores", "apart"])
@pytest.mark.parametrize("convention", ["price-weights", "blended", "output-only"])
def test_the_grids_attribution_is_that_of_economics_and_conserves_the_cost(name: str, convention: Any):
    one, given = replica(name), loads(300)
    terms = money(one, offer="bedrock", occupancy=0.5)
    table = am.evaluate(one, **given, offer="bedrock", occupancy=0.5, attribution=convention)
    c, hit = columns(table), given["prefix_hit_fraction"]
    inputs, outputs = c["input_tokens_per_s"] * 0.5, c["output_tokens_per_s"] * 0.5
    rates = TokenRates(inputs * (1 - hit), inputs * hit, outputs)
    expected = attribution.attribute(c["replica_cost_usd_per_h"], rates, convention=convention, prices=terms.token_prices)
    for column, value in vars(expected).items():
        assert c[column].tolist() == close(np.asarray(value).tolist(), 1e-11), column
    borne = sum(np.nan_to_num(rate) * 3600 / 1e6 * np.nan_to_num(cost) for rate, cost in zip(rates.streams, expected.streams, strict=True))
    np.testing.assert_allclose(borne, np.nan_to_num(c["replica_cost_usd_per_h"]), rtol=1e-11)


def test_a_convention_changes_the_split_alone():
    given = {"input_tokens": 3000, "output_tokens": 400, "concurrency": 16, "prefix_hit_fraction": 0.4, "offer": "bedrock"}
    by_time, blended = (am.evaluate(replica("dense"), **given, attribution=convention).to_dict() for convention in ("device-time", "blended"))
    split = {"cost_usd_per_mtok_input", "cost_usd_per_mtok_cached_input", "cost_usd_per_mtok_output"}
    changed = {name for name in by_time if by_time[name] != blended[name]}
    assert {name.removesuffix("_low90").removesuffix("_high90") for name in changed} == split
    assert am.evaluate(replica("dense"), **given).to_dict() == by_time


@pytest.mark.parametrize(
    ("given", "words"), [({"attribution": "device_time"}, "did you mean 'device-time'"), ({"attribution": "price-weights"}, "needs the token prices")]
)
def test_a_convention_that_is_unknown_or_lacks_prices_is_refused(given: dict[str, Any], words: str):
    with pytest.raises(am.InputError, match=words) as caught:
        am.evaluate(replica("dense"), input_tokens=1000, output_tokens=100, concurrency=4, **given)
    assert caught.value.key == "attribution"


def test_money_of_a_table_carries_currency_and_dates_and_nothing_else_does():
    table = am.evaluate(replica("dense"), input_tokens=[1000, 2000], output_tokens=100, concurrency=4, offer=["on-demand", "bedrock"])
    for field in table.schema:
        is_money = field.metadata[b"unit"].startswith(b"USD")
        assert (b"currency" in field.metadata) == (b"price_date" in field.metadata) == is_money, field.name
    # EC2's snapshot of 2026-07-20 and Bedrock's of 2026-11.
    assert table.schema.field("cost_usd_per_mtok").metadata[b"price_date"].decode() == "2026-07-20/2026-11"


def test_serving_oneself_sells_nothing_and_rents_where_an_hour_is_given():
    given = {"input_tokens": 1000, "output_tokens": 100, "concurrency": 4, "books": "self"}
    owned, rented = (am.evaluate(replica("dense"), **given, offer=offer) for offer in ("bedrock", ["on-demand", "bedrock"]))
    assert (owned.cost_basis, rented.cost_basis) == ("ownership", "p5.48xlarge:on-demand:us-east-1")
    assert rented.replica_cost_usd_per_h == close(55.04)
    assert not hasattr(owned, "margin_fraction")
