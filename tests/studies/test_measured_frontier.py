"""Published measurements on a frontier: where a known run lies, which runs are of a region, and that what is shipped is what was published."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from accelmodel.catalog.library import Library
from accelmodel.studies.measured_frontier import Measured, Published, closed_loop_tokens_per_s, frontier_rows

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "hardware_profiles/measurements/published-2026-11.parquet"
FACTS = ROOT / "../shared/facts/measured_calibration.parquet"

# AI-Hypercomputer/tpu-recipes, inference/trillium/vLLM/Llama3.x/README.md at c8cfe2f689: eight chips, 64 at a time, 1,000 tokens in and out:
# TTFT 251.04 ms, TPOT 25.35 ms (means), 2,494.8 output tokens/s; and 128 at a time.
TRILLIUM = {"model": "llama-3.3-70b", "accelerator": "tpu-v6e", "weights": "bf16", "input_tokens": 1000.0, "output_tokens": 1000.0}
MONEY = {"cost_usd_per_mtok": 1.0, "replica_cost_usd_per_h": 16.0, "accelerators": 8, "occupancy": 0.5}


@pytest.fixture(scope="module")
def published() -> Published:
    return Published()


def near(published: Published, **changes: Any) -> list[Measured]:
    return published.frontier([{"case": "a", "fits": True, **TRILLIUM, **MONEY, **changes}])


def test_the_catalogue_s_measurements_are_the_shipped_ones(published: Published):
    assert published.path == SHIPPED


def test_a_published_run_lies_at_its_published_speed_and_throughput(published: Published):
    found, busier = near(published)
    assert found.output_tokens_per_s_per_user == pytest.approx(1000 / 25.35)
    assert found.output_tokens_per_s_per_accelerator == pytest.approx(2494.8 / 8)
    assert (found.run.source, found.run.version) == ("Google tpu-recipes", "c8cfe2f689081d36701a101cd73a70965d80926b")
    assert not found.run.is_derived
    assert busier.output_tokens_per_s_per_accelerator > found.output_tokens_per_s_per_accelerator
    # Two USD an hour and chip, half of the hours loaded; as many tokens in as out.
    assert found.cost_usd_per_mtok == pytest.approx(2.0 / (0.5 * 2 * 2494.8 / 8 * 3600 / 1e6))


def test_latencies_and_concurrency_give_the_throughput_of_a_closed_loop():
    """Runs that publish all three: the one above, and one request at a time on 16 chips of Trainium2 (aws-neuron-sdk, trn2-llama3.3-70b-tutorial at
    81ce03ae26: medians of 814.28 ms and 19.66 ms, 49.495 tokens/s of a request, 1,501 tokens out).
    """
    assert closed_loop_tokens_per_s(64, 1000, 0.25104, 0.02535) == pytest.approx(2494.8, rel=0.005)
    assert closed_loop_tokens_per_s(1, 1501, 0.81428, 0.01966) == pytest.approx(49.495, rel=0.001)


def test_the_law_holds_over_the_shipped_loops_as_far_as_is_said():
    """Median of those that print all three: 9 %, for they had 4 to 16 requests a client; 5 % of those with 16 (32 at a time)."""
    rows = pd.read_parquet(SHIPPED)
    loops = rows[rows["source"].str.startswith("dstack PD-ratio")]
    runs = loops.pivot_table(index=["note", "isl", "osl", "concurrency", "model"], columns="metric", values="value").reset_index()
    derived = closed_loop_tokens_per_s(runs["concurrency"], runs["osl"], runs["ttft_ms_p50"] / 1e3, runs["tpot_ms_p50"] / 1e3)
    apart = (derived / runs["output_tok_s"] - 1).abs()
    assert len(runs) == 55
    assert apart.median() == pytest.approx(0.09, abs=0.01)
    assert apart[runs["concurrency"] == 32].median() == pytest.approx(0.05, abs=0.005)


def test_a_throughput_that_is_not_published_is_derived_and_says_so(published: Published):
    (found,) = near(published, accelerator="trainium2", input_tokens=10_000.0, output_tokens=1500.0)
    assert found.output_tokens_per_s_per_user == pytest.approx(1000 / 19.66)
    assert found.output_tokens_per_s_per_accelerator == pytest.approx(49.495 / 16, rel=0.001)
    assert found.run.is_derived


@pytest.mark.parametrize(
    "changes",
    [{"weights": "fp8"}, {"input_tokens": 1501.0}, {"input_tokens": 666.0}, {"output_tokens": 1501.0}, {"model": "llama-3.1-405b"}, {"accelerator": "tpu-v5e"}],
)
def test_other_models_chips_dtypes_and_lengths_are_not_of_the_region(changes: dict[str, Any], published: Published):
    assert near(published, **changes) == []
    assert len(near(published, input_tokens=1499.0, output_tokens=667.0)) == 2


def test_rows_that_do_not_say_their_region_have_no_measurements(published: Published):
    assert near(published, weights=None) == []
    assert near(published, fits=False) == []


def test_without_a_price_there_is_no_cost(published: Published):
    assert [found.cost_usd_per_mtok for found in near(published, replica_cost_usd_per_h=None)] == [None, None]


HEAD = "source,source_path_or_url,engine,model,accelerator,num_accelerators,tp,isl,osl,concurrency,load_as_published,precision_weights,trust,metric,value"
RUN = "TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,1000,100,16,concurrency=16,fp8"
REGION = {"model": "llama-3.1-8b", "accelerator": "h100-sxm", "weights": "fp8", "input_tokens": 1000.0, "output_tokens": 100.0}


def of_lines(folder: Path, *lines: str) -> list[Measured]:
    path = folder / "measured.csv"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return near(Published(path), **REGION)


def test_runs_of_one_configuration_stay_apart_by_where_they_stand(tmp_path: Path):
    lines = [
        f"lab,{place},{RUN},A,{metric},{value}" for place, scale in (("a", 1), ("b", 2)) for metric, value in (("tpot_ms", 10), ("output_tok_s", 800 * scale))
    ]
    assert [one.output_tokens_per_s_per_accelerator for one in of_lines(tmp_path, *lines)] == [800.0, 1600.0]


def test_a_run_whose_metrics_stand_apart_is_one(tmp_path: Path):
    (found,) = of_lines(tmp_path, f"lab,latency.png,{RUN},A,itl_ms,10", f"lab,throughput.png,{RUN},A,output_tok_s,800")
    assert (found.output_tokens_per_s_per_user, found.output_tokens_per_s_per_accelerator) == (100.0, 800.0)


def test_what_cannot_be_placed_is_left_out(tmp_path: Path):
    """A speed alone; trust C; a throughput beyond twice what concurrency and latencies allow: 16 x 100 tokens in 10 ms + 99 x 10 ms are 1,600/s."""
    assert of_lines(tmp_path, f"lab,a,{RUN},A,tpot_ms,10") == []
    assert of_lines(tmp_path, f"lab,a,{RUN},C,tpot_ms,10", f"lab,a,{RUN},C,output_tok_s,800") == []
    both = [f"lab,a,{RUN},A,tpot_ms,10", f"lab,a,{RUN},A,ttft_ms,10"]
    assert [one.output_tokens_per_s_per_accelerator for one in of_lines(tmp_path, *both)] == pytest.approx([1600.0])
    assert len(of_lines(tmp_path, *both, f"lab,a,{RUN},A,output_tok_s,3190")) == 1
    assert of_lines(tmp_path, *both, f"lab,a,{RUN},A,output_tok_s,3210") == []


def test_a_folder_of_one_s_own_comes_first(tmp_path: Path):
    (tmp_path / "measurements").mkdir()
    own = tmp_path / "measurements/mine.csv"
    own.write_text(f"{HEAD}\nlab,a,{RUN},A,tpot_ms,10\nlab,a,{RUN},A,output_tok_s,800\n")
    found = Published(None, Library(tmp_path))
    assert found.path == own
    assert len(near(found, **REGION)) == 1


def test_all_that_is_shipped_has_a_place_and_a_source():
    shipped = pd.read_parquet(SHIPPED)
    assert len(frontier_rows(shipped)) == len(shipped) > 5000
    assert shipped[["source", "source_path_or_url", "source_commit_or_date"]].notna().all(axis=None)
    assert SHIPPED.stat().st_size < 400_000


@pytest.mark.skipif(not FACTS.is_file(), reason="the facts folder lies beside the checkout only in development")
def test_what_is_shipped_is_what_was_published():
    facts, shipped = pd.read_parquet(FACTS), pd.read_parquet(SHIPPED)
    columns = list(shipped.columns)
    usual = facts[facts["special"].isna() & (facts["trust"] != "C")]
    known = set(usual[columns].astype(str).itertuples(index=False, name=None))
    assert set(shipped.astype(str).itertuples(index=False, name=None)) <= known
    spec = importlib.util.spec_from_file_location("published", ROOT / "docs/tools/published.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    pd.testing.assert_frame_equal(tool.condensed(FACTS), shipped)
