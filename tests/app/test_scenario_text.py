"""The scenario's text under the explorer's controls: what changes is what was moved, and nothing else."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelmodel as am
from accelmodel.app import controls, document
from accelmodel.app.controls import BASE, EVERY, HOUR, LOAD_AMOUNT, LOAD_KIND, OWNED, TARGETS, TOKEN, UNSOLD, Options
from accelmodel.catalog.library import Library

TEXT = """# mine
title = "One" # said once

[base]
model = "llama-3.1-8b"   # small
input_tokens = 1000
output_tokens = 250
concurrency = 8
occupancy = 0.55
offer = ["on-demand", "bedrock"]

[cases.a]
system = "p5.48xlarge"

[cases.b]  # the other
system = "trn2.48xlarge"
accelerators = 4
offer = ["capacity-block", "bedrock"]

[studies.shock]
kind = "price-shock"
in_house = "b"
vendor = "a"
in_house_fraction = [0.0, 1.0]
vendor_price_shock_fraction = [0.0]
"""


@pytest.fixture(scope="module")
def options() -> Options:
    return Options(Library())


def moved(options: Options, values: dict[str, object], case: str | None = None, text: str = TEXT) -> str:
    return document.edited(text, controls.changes(values, document.parsed(text), case, options))


def test_a_moved_control_changes_its_line_only(options: Options):
    changed = moved(options, {"occupancy": 70})
    assert [line for line in changed.splitlines() if line not in TEXT.splitlines()] == ["occupancy = 0.7"]
    assert len(changed.splitlines()) == len(TEXT.splitlines())


def test_a_control_that_is_emptied_takes_its_key_out_and_one_that_stands_still_changes_nothing(options: Options):
    assert "accelerators" not in moved(options, {"accelerators": None}, "b").split("[studies")[0]
    shown = {key: controls.value_of(control, document.parsed(TEXT), "b", options) for key, control in EVERY.items()}
    assert controls.changes(shown, document.parsed(TEXT), "b", options) == {}


def test_every_control_of_every_part_reads_what_it_wrote(options: Options):
    values: dict[str, object] = {
        "weights": "fp8",
        "tensor_parallel": 4,
        "prefix_hit_fraction": 25,
        "purchase_usd": 9000,
        "site": "new-carlisle",
        "ttft_s": 1.5,
        "discount_fraction": 10,
    }
    text = moved(options, values)
    read = tomllib.loads(text)
    assert read["base"]["prefix_hit_fraction"] == 0.25
    assert read["studies"]["price"] == {"kind": "waterfall", "discount_fraction": 0.1}
    assert {key: controls.value_of(EVERY[key], read, None, options) for key in values} == values


def test_a_load_is_requests_at_a_time_or_a_rate_or_what_the_targets_allow(options: Options):
    rate = tomllib.loads(moved(options, {LOAD_KIND: "requests_per_s", LOAD_AMOUNT: 2.5}))["base"]
    assert rate["requests_per_s"] == 2.5
    assert "concurrency" not in rate
    targets = tomllib.loads(moved(options, {LOAD_KIND: TARGETS, LOAD_AMOUNT: 8, "tpot_s": 0.05}))["base"]
    assert targets["tpot_s"] == 0.05
    assert not {"concurrency", "requests_per_s"} & targets.keys()


def test_two_controls_share_the_offers(options: Options):
    read = tomllib.loads(TEXT)
    assert [controls.value_of(EVERY[key], read, None, options) for key in (HOUR, TOKEN)] == ["on-demand", "bedrock"]
    assert [controls.value_of(EVERY[key], read, "a", options) for key in (HOUR, TOKEN)] == [None, None]
    assert [controls.value_of(EVERY[key], read, "b", options) for key in (HOUR, TOKEN)] == ["capacity-block", "bedrock"]
    # Owned though the base rents, and sold as the base sells
    owned = tomllib.loads(moved(options, {HOUR: OWNED, TOKEN: None}, "a"))
    assert owned["cases"]["a"]["offer"] == ["bedrock"]
    assert [controls.value_of(EVERY[key], owned, "a", options) for key in (HOUR, TOKEN)] == [OWNED, "bedrock"]
    unsold = tomllib.loads(moved(options, {HOUR: None, TOKEN: UNSOLD}, "a"))
    assert unsold["cases"]["a"]["offer"] == ["on-demand"]
    assert "offer" not in tomllib.loads(moved(options, {HOUR: None, TOKEN: None}, "b"))["cases"]["b"]


def test_one_of_two_controls_moves_without_the_other(options: Options):
    sold = tomllib.loads(moved(options, {TOKEN: UNSOLD}, "b"))
    assert sold["cases"]["b"]["offer"] == ["capacity-block"]
    rate = tomllib.loads(moved(options, {LOAD_KIND: "requests_per_s"}))["base"]
    assert rate["requests_per_s"] == 8


def test_alternatives_are_added_renamed_and_removed_with_their_comments():
    more = document.added(TEXT)
    assert tomllib.loads(more)["cases"]["alternative-3"] == tomllib.loads(TEXT)["cases"]["b"]
    other = document.renamed(more, "alternative-3", "third")
    assert list(tomllib.loads(other)["cases"]) == ["a", "b", "third"]
    assert "# the other" in other
    assert tomllib.loads(document.without(other, "third")) == tomllib.loads(TEXT)
    with pytest.raises(am.InputError, match=r"studies.shock.vendor names the alternative 'a'"):
        document.without(TEXT, "a")
    with pytest.raises(am.InputError, match="name of another alternative"):
        document.renamed(TEXT, "a", "b")


def test_no_more_than_six():
    text = TEXT
    for _ in range(4):
        text = document.added(text)
    with pytest.raises(am.InputError, match="up to 6 alternatives"):
        document.added(text)


HEAD = 'title = "x"\n'
BASE_KEYS = 'model = "llama-3.1-8b"\ninput_tokens = 1000\noutput_tokens = 200\n'
AWKWARD = {
    "inline tables": HEAD + 'base = { model = "m" }\ncases = { a = { system = "s" }, b = { system = "t" } }\nstudies = { p = { kind = "points" } }\n',
    "dotted keys": HEAD + 'base.model = "m"\ncases.a.system = "s"\ncases.b.system = "t"\nstudies.p.kind = "points"\n',
    "tables out of order": HEAD + f'[cases.a]\nsystem = "s"\n[studies.p]\nkind = "points"\n[base]\n{BASE_KEYS}[cases.b]\nsystem = "t" # end\n',
    "lines of another system": (HEAD + f'[base]\n{BASE_KEYS}[cases.a]\nsystem = "s"\n[cases.b]\nsystem = "t"\n').replace("\n", "\r\n"),
    "no base": HEAD + '[cases.a]\nsystem = "s"\n[cases.b]\nsystem = "t"\n',
}


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_whatever_way_a_file_is_written_it_says_after_a_change_what_was_meant(text: str):
    read = tomllib.loads(text)
    assert tomllib.loads(document.edited(text, {("base", "occupancy"): 0.4})) == read | {"base": {**read.get("base", {}), "occupancy": 0.4}}
    studies = read.get("studies", {}) | {"price": {"kind": "waterfall"}}
    assert tomllib.loads(document.edited(text, {("studies", "price", "kind"): "waterfall"})) == read | {"studies": studies}
    more = tomllib.loads(document.added(text))
    assert more == read | {"cases": {**read["cases"], "alternative-3": {"system": "t"}}}
    assert list(more["cases"]) == ["a", "b", "alternative-3"]
    assert list(tomllib.loads(document.renamed(text, "a", "z"))["cases"].items()) == [("z", {"system": "s"}), ("b", {"system": "t"})]
    assert tomllib.loads(document.without(text, "a")) == read | {"cases": {"b": {"system": "t"}}}


@pytest.mark.parametrize(("text", "key"), [("base = 4", "base"), ("cases = 3", "cases"), ("[cases]\na = 3", "cases.a"), ("studies = [1]", "studies")])
def test_what_must_be_a_table_is_one(text: str, key: str):
    with pytest.raises(am.InputError, match="must be a table") as raised:
        document.parsed(text)
    assert raised.value.key == key


@pytest.mark.parametrize("value", ["/etc/passwd", "..\\secret", "mine.toml", "trace.PARQUET", "./x"])
def test_a_scenario_from_elsewhere_names_no_files_of_this_machine(value: str):
    for key in (("base", "model"), ("cases", "a", "system"), ("studies", "shock", "reference")):
        with pytest.raises(am.InputError, match="--catalog") as raised:
            document.parsed(document.edited(TEXT, {key: value}))
        assert raised.value.key == ".".join(key)


def test_text_that_is_no_scenario_is_refused_by_its_line():
    with pytest.raises(am.InputError, match=r"no TOML.*line 2"):
        document.parsed("title = 1\ntitle = = 2")
    with pytest.raises(am.InputError, match="1,000,000"):
        document.parsed("#" * 1_000_001)


@given(st.text(max_size=400))
def test_an_address_gives_back_its_scenario(text: str):
    link = document.packed(text)
    assert link.isascii()
    assert not set(link) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert document.unpacked(link) == text


@pytest.mark.parametrize("link", ["", "abc", "@@@", document.packed(TEXT)[:-9]])
def test_an_address_that_was_cut_is_said_to_be(link: str):
    with pytest.raises(am.InputError, match="cut when it was copied"):
        document.unpacked(link)


def test_an_address_does_not_unpack_without_end():
    with pytest.raises(am.InputError, match="more than"):
        document.unpacked(document.packed("0" * 50_000_000))


def test_every_control_has_choices_or_stops_and_base_controls_come_once(options: Options):
    keys = [control.key for _, panel in controls.PANELS for control in panel]
    assert len(keys) == len(set(keys))
    for control in EVERY.values():
        known = options.of(control, {"model": "llama-3.3-70b", "system": "trn2.48xlarge"}) if control.choices else control.stops
        assert known, control.key
        assert control.description, control.key
    assert BASE not in keys
