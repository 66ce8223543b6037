"""The best replicas at latency targets: what is searched, what ranks, what is refused, and agreement with an enumeration by hand."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.studies.optimize import RANKINGS

LOAD: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 200}
TARGETS: dict[str, Any] = {"ttft_s": 1.0, "tpot_s": 0.02}
GPT, LLAMA = {"model": "gpt-oss-20b", "system": "p5.48xlarge"}, {"model": "llama-3.1-8b", "system": "p5.48xlarge"}
CUT = ("accelerators", "tensor_parallel", "attention_data_parallel", "expert_parallel")


@functools.cache
def rows(**options: Any) -> tuple[dict[str, Any], ...]:
    return tuple(am.optimize(**LOAD | {"top": 1000} | options).to_pylist())


def cut(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in CUT)


def without_nan(value: Any) -> Any:
    return None if value != value else value


def column(found: tuple[dict[str, Any], ...], name: str) -> list[float]:
    return [row[name] for row in found]


# --- what is found --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [GPT, LLAMA, {"model": "llama-3.1-70b", "system": "trn2-ultraserver", "weights": "fp8"}], ids=lambda of: of["model"])
@pytest.mark.parametrize("targets", [TARGETS, {"ttft_s": 0.2}, {"tpot_s": 0.008}, {"ttft_s": 5.0, "tpot_s": 0.05, "prefix_hit_fraction": 0.5}], ids=str)
def test_every_row_meets_the_targets_and_one_client_more_does_not(of: dict[str, Any], targets: dict[str, Any]):
    if of["system"] == "trn2-ultraserver" and targets == {"tpot_s": 0.008}:
        targets = {"tpot_s": 0.02}
    found = rows(**of, **targets)
    assert found
    asked = {name: targets[name] for name in targets if name == "prefix_hit_fraction"}
    for row in found:
        assert (row["model"], row["system"], row["fits"], row["waiting_requests"]) == (of["model"], of["system"], True, 0.0)
        assert row["time_to_first_token_s"] <= targets.get("ttft_s", np.inf)
        assert row["time_per_output_token_s"] <= targets.get("tpot_s", np.inf)
        assert row["concurrency"] == int(row["concurrency"]) >= 1
        one = am.replica(**of, accelerators=row["accelerators"], **{name: row[name] for name in CUT[1:]})
        same, more = (am.evaluate(one, **LOAD, **asked, concurrency=row["concurrency"] + extra) for extra in (0, 1))
        assert same.time_to_first_token_s == row["time_to_first_token_s"]
        assert (
            more.waiting_requests > 0
            or more.time_to_first_token_s > targets.get("ttft_s", np.inf)
            or more.time_per_output_token_s > targets.get("tpot_s", np.inf)
        )


def test_no_cut_comes_twice_and_all_are_legal():
    found = [cut(row) for row in rows(**GPT)]
    assert len(found) == len(set(found))
    for accelerators, tensor, data, expert in found:
        assert tensor * data == accelerators  # one rank an accelerator
        assert accelerators % expert == 0
    found = [cut(row) for row in rows(model="llama-3.1-8b", system="trn2.48xlarge")]
    assert all(tensor * data == 4 * accelerators and expert == 1 for accelerators, tensor, data, expert in found)  # four logical cores a chip


def enumerated(model: str, system: str, ranks: int, accelerators: int, experts: bool, **targets: float) -> dict[tuple[int, ...], am.Point]:
    """Every legal cut in powers of two, at the largest of 1, 2, 3 ... clients that meets the targets, each tried."""
    found = {}
    clients = np.arange(1, 6001)
    for size, tensor, data, expert in itertools.product((1, 2, 4, 8, 16), repeat=4):
        if size > accelerators or tensor * data != size * ranks or (expert > 1 and not experts):
            continue
        try:
            one = am.replica(model=model, system=system, accelerators=size, tensor_parallel=tensor, attention_data_parallel=data, expert_parallel=expert)
        except am.InputError:
            continue
        table = am.evaluate(one, **LOAD, concurrency=clients)
        ttft, tpot, waiting = (table[name].to_numpy(zero_copy_only=False) for name in ("time_to_first_token_s", "time_per_output_token_s", "waiting_requests"))
        meets = (ttft <= targets["ttft_s"]) & (tpot <= targets["tpot_s"]) & (waiting == 0.0)
        if meets.any():
            assert not meets[-1]
            found[size, tensor, data, expert] = am.evaluate(one, **LOAD, concurrency=int(clients[meets][-1]))
    return found


@pytest.mark.parametrize(
    ("of", "ranks", "accelerators", "experts"),
    [(GPT, 1, 8, True), (LLAMA, 1, 8, False), (LLAMA | {"system": "trn2.3xlarge"}, 4, 1, False), (GPT | {"system": "inf2.xlarge"}, 2, 1, True)],
    ids=["mixture", "dense", "cores", "mixture on cores"],
)
def test_the_search_finds_what_trying_everything_finds(of: dict[str, str], ranks: int, accelerators: int, experts: bool):
    targets = {"ttft_s": 2.0, "tpot_s": 0.05}
    tried = enumerated(**of, ranks=ranks, accelerators=accelerators, experts=experts, **targets)
    assert tried
    # By throughput, since not every system has a price.
    found = rows(**of, **targets, by="output_tokens_per_s_per_accelerator")
    assert {cut(row) for row in found} == tried.keys()
    for row in found:
        point = tried[cut(row)]
        assert row["concurrency"] == point.concurrency
        assert {name: without_nan(row[name]) for name in point.to_dict()} == point.to_dict()
    assert found[0]["output_tokens_per_s_per_accelerator"] == max(point.output_tokens_per_s_per_accelerator for point in tried.values())
    if of["system"] != "inf2.xlarge":
        assert rows(**of, **targets)[0]["cost_usd_per_mtok"] == min(point.cost_usd_per_mtok for point in tried.values())


# --- what ranks -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", sorted(RANKINGS))
def test_the_best_comes_first(by: str):
    found = rows(**GPT, **TARGETS, by=by, offer=("on-demand", "bedrock"))
    values = column(found, by)
    assert values == sorted(values, reverse=by != "cost_usd_per_mtok")
    assert len({cut(row) for row in found}) == len(found)
    # The same replicas in another order.
    assert sorted(map(cut, found)) == sorted(map(cut, rows(**GPT, **TARGETS)))


def test_a_margin_ranks_hours_that_a_cloud_sells_too():
    found = rows(**LLAMA, **TARGETS, by="margin_fraction", offer="on-demand", books="cloud")
    assert column(found, "margin_fraction") == sorted(column(found, "margin_fraction"), reverse=True)
    # All hours sell at 6.88 USD (55.04 by eight): the cheapest to run, not to serve tokens with, comes first.
    for row in found:
        assert row["revenue_usd_per_h"] == pytest.approx(55.04 / 8 * row["accelerators"] * row["occupancy"], rel=1e-12)


def test_only_so_many_are_shown():
    whole = rows(**GPT, **TARGETS)
    assert len(whole) > 12
    assert [cut(row) for row in rows(**GPT, **TARGETS, top=3)] == [cut(row) for row in whole[:3]]
    assert len(am.optimize(**GPT, **LOAD, **TARGETS)) == 10
    assert len(rows(**GPT, **TARGETS, top=len(whole) + 5)) == len(whole)


def test_several_systems_are_searched_together():
    alone = {system: rows(model="llama-3.1-8b", system=system, **TARGETS) for system in ("p5.48xlarge", "trn2.48xlarge")}
    both = rows(model="llama-3.1-8b", system=tuple(alone), **TARGETS)
    assert len(both) == sum(map(len, alone.values()))
    costs = column(both, "cost_usd_per_mtok")
    assert costs == sorted(costs)
    for system, found in alone.items():
        assert [cut(row) for row in both if row["system"] == system] == [cut(row) for row in found]


def test_what_has_no_price_comes_last():
    # Nobody publishes a price of a TPU: no cost, and still a row.
    found = rows(model="llama-3.1-8b", system=("tpu-v6e-8", "p5.48xlarge"), tpot_s=0.1)
    priced = [without_nan(row["cost_usd_per_mtok"]) is not None for row in found]
    assert priced == sorted(priced, reverse=True)
    assert {row["system"] for row, has in zip(found, priced, strict=True) if not has} == {"tpu-v6e-8"}


def test_stricter_targets_never_rank_more_or_cheaper():
    strict, loose = rows(**GPT, ttft_s=0.1, tpot_s=0.008), rows(**GPT, ttft_s=2.0, tpot_s=0.05)
    assert {cut(row) for row in strict} <= {cut(row) for row in loose}
    costs = {cut(row): row["cost_usd_per_mtok"] for row in loose}
    assert all(row["cost_usd_per_mtok"] >= costs[cut(row)] for row in strict)


def test_options_of_a_replica_are_those_of_all():
    found = rows(**LLAMA, **TARGETS, weights="fp8", kv="fp8", mode="disaggregated")
    assert {(row["weights"], row["kv"], row["mode"]) for row in found} == {("fp8", "fp8", "disaggregated")}
    assert column(found, "cost_usd_per_mtok")[0] < column(rows(**LLAMA, **TARGETS, mode="disaggregated"), "cost_usd_per_mtok")[0]


def test_an_unknown_price_is_null():
    for row in rows(model="llama-3.1-8b", system="tpu-v6e-8", by="output_tokens_per_s_per_accelerator"):
        assert row["cost_usd_per_mtok"] is None


# --- what is refused ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"tpot_s": 1e-9}, "system", "no replica of 'llama-3.1-8b' on these systems meets the targets"),
        ({"model": "deepseek-r1", "system": "g6e.xlarge"}, "system", "no replica of 'deepseek-r1'"),
        ({"by": "cost_usd_per_mtk"}, "by", "did you mean 'cost_usd_per_mtok'"),
        ({"by": "power_w"}, "by", "'power_w' ranks nothing"),
        ({"by": "margin_fraction"}, "offer", "needs an offer by the token"),
        ({"by": "margin_fraction", "offer": "on-demand"}, "offer", "needs an offer by the token"),
        ({"system": "tpu-v6e-8"}, "by", "its figures are unknown"),
        ({"model": "llama-3.1-8c"}, "model", "did you mean"),
        ({"system": "p5.48xlrge"}, "system", "did you mean 'p5.48xlarge'"),
        ({"ttft_s": -1.0}, "ttft_s", "above 0"),
        ({"input_tokens": 0}, "input_tokens", "at least 1"),
        ({"offer": "on-demnd"}, "offer", "did you mean 'on-demand'"),
    ],
)
def test_wrong_input_names_the_key_and_the_fault(options: dict[str, Any], key: str, words: str):
    with pytest.raises(am.InputError, match=words) as caught:
        am.optimize(**LLAMA | LOAD | options)
    assert caught.value.key == key


@pytest.mark.parametrize("load", [{"ttft_s": 2.0, "tpot_s": 0.03}, {"requests_per_s": 4.0}], ids=str)
def test_a_capped_replica_meets_the_targets_and_carries_the_rate(load: dict[str, float]):
    one = am.replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", power_cap_w=450.0)
    p = am.evaluate(one, input_tokens=4000, output_tokens=300, **load)
    assert p.time_per_output_token_s <= load.get("tpot_s", np.inf)
    assert p.output_tokens_per_s / 300 == pytest.approx(load.get("requests_per_s", p.output_tokens_per_s / 300), rel=1e-9)


def test_a_system_that_lacks_a_figure_is_left_out_where_another_has_it():
    assert {row["system"] for row in rows(**LLAMA | {"system": ("p5.48xlarge", "mi350x-8")}, mode="disaggregated")} == {"p5.48xlarge"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "statik"}, "is no mode of serving"),
        ({"weights": "fp7"}, "is not a dtype"),
        ({"engine": "vlm"}, "did you mean 'vllm'"),
        ({"chunk_tokens": -1.0}, "above 0"),
        ({"speculative_tokens": 2}, "give a draft_model"),
    ],
    ids=str,
)
def test_an_option_that_is_wrong_for_all_is_named(options: dict[str, Any], words: str):
    with pytest.raises(am.InputError, match=words):
        am.optimize(**LLAMA | LOAD | options)


# --- the command ----------------------------------------------------------------------------------------------------------------------------

COMMAND = ["optimize", "--model", "gpt-oss-20b", "--system", "p5.48xlarge", "--input-tokens", "1000", "--output-tokens", "200"]


def run(*arguments: str) -> int:
    return execute([*COMMAND, *arguments])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]):
    assert run("--ttft-s", "1", "--tpot-s", "0.02", "--top", "4") == 0
    out = capsys.readouterr().out
    assert out.count("p5.48xlarge") == 4
    assert "margin" not in out.lower()
    assert run("--tpot-s", "0.02", "--offer", "on-demand", "--offer", "bedrock", "--by", "margin_fraction") == 0
    assert "margin" in capsys.readouterr().out.lower()


def test_the_command_prints_what_the_function_returns(capsys: pytest.CaptureFixture[str]):
    assert run("--ttft-s", "1", "--tpot-s", "0.02", "--top", "4", "--by", "output_tokens_per_s_per_accelerator", "--format", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["version"], document["by"]) == ("accelmodel.optimize/1", am.__version__, "output_tokens_per_s_per_accelerator")
    assert len(document["catalog_sha256"]) == 64
    assert document["replicas"] == list(rows(**GPT, **TARGETS, top=4, by="output_tokens_per_s_per_accelerator"))


def test_the_command_prints_replicas_without_a_price(capsys: pytest.CaptureFixture[str]):
    arguments = ["optimize", "--model", "llama-3.1-8b", "--system", "tpu-v6e-8", "--input-tokens", "1000", "--output-tokens", "200"]
    assert execute([*arguments, "--by", "output_tokens_per_s_per_accelerator", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["replicas"][0]["cost_usd_per_mtok"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tpot-s", "1e-9"), "meets the targets"),
        (("--by", "cheapest"), "ranks nothing"),
        (("--by", "margin_fraction"), "offer by the token"),
        (("--top", "0"), "--top"),
        (("--format", "csv"), "--format"),
        (("--concurrency", "8"), "--concurrency"),
        (("--accelerators", "8"), "--accelerators"),
        (("--system", "p5.48xlrge"), "did you mean 'p5.48xlarge'"),
    ],
)
def test_the_command_refuses_with_one_clear_message(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]):
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert not printed.out
    assert "Traceback" not in printed.err


# --- several values of an option ------------------------------------------------------------------------------------------------------------


def test_several_values_of_options_are_searched_over_as_if_each_were_asked_alone():
    together = rows(**GPT, **TARGETS, kv=("bf16", "fp8"), pipeline_parallel=(1, 2))
    alone = [row for kv, stages in itertools.product(("bf16", "fp8"), (1, 2)) for row in rows(**GPT, **TARGETS, kv=kv, pipeline_parallel=stages)]
    assert [row["cost_usd_per_mtok"] for row in together] == sorted(row["cost_usd_per_mtok"] for row in alone)
    assert {(row["kv"], row["pipeline_parallel"]) for row in together} == {("bf16", 1), ("bf16", 2), ("fp8", 1), ("fp8", 2)}


def test_a_wrong_one_of_several_values_is_refused():
    with pytest.raises(am.InputError, match="fp9"):
        am.optimize(**GPT, **LOAD, **TARGETS, kv=["bf16", "fp9"])
