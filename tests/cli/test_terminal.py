"""What people read: rounding, tables within the width, plain text on a pipe."""

from __future__ import annotations

import doctest
import io
import re

import pytest
from rich.console import Console

import accelmodel as am
from accelmodel import numbers
from accelmodel.numbers import number, percent, ratio, text
from accelmodel.reports import layout, terminal
from accelmodel.reports.layout import Column, print_columns
from accelmodel.reports.terminal import label, print_rows, print_run


@pytest.mark.parametrize("module", [numbers, layout, terminal])
def test_examples_in_the_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0, "s", "0 s"),
        (0.00099996, "s", "1.00 ms"),
        (0.9999, "s", "1.00 s"),
        (27.9, "s", "27.9 s"),
        (4321.0, "s", "4,321 s"),
        (96 * 2**30, "byte", "103 GB"),
        (999.9e9, "byte", "1.00 TB"),
        (1.34e18, "FLOP/s", "1.34 EFLOP/s"),
        (640e9, "byte/s", "640 GB/s"),
        (500.0, "W", "500 W"),
        (0.224, "J", "224 mJ"),
        (87_072.0, "USD", "87,072 USD"),
        (562_027.4, "USD", "562,027 USD"),
        (9.03e9, "USD", "9.03 B USD"),
        (-2.5e6, "USD", "-2.50 M USD"),
        (24.7e12, "token/day", "24.7 T token/day"),
        (999_999.9, "token", "1.00 M token"),
        (7813, "1", "7,813"),
        (32.0, "1", "32"),
        (0.1593, "USD/Mtok", "0.159 USD/Mtok"),
        (True, "1", "yes"),
        ("memory", "1", "memory"),
        (None, "s", "–"),
        (float("nan"), "USD", "–"),
    ],
)
def test_text(value: object, unit: str, expected: str) -> None:
    assert text(value, unit) == expected


def test_numbers_percentages_and_ratios() -> None:
    assert [number(value) for value in (1234.5, 0.05, 1_000_000, 2e9, 1e-6, float("inf"))] == ["1,234", "0.0500", "1,000,000", "2.00 B", "1.00e-06", "inf"]
    assert [percent(value) for value in (0.6, -8.79, 0.0005, None)] == ["60", "-879", "0.0500", "–"]
    assert [ratio(value) for value in (None, 0.6, 2 / 3, 1.0, 0.0123)] == ["–", "0.6", "0.67", "1", "0.0123"]


def test_labels_carry_the_unit_apart() -> None:
    assert label("output_tokens_per_s_per_accelerator") == ("output tokens per accelerator", "token/s")
    assert label("it_power_mw") == ("IT power", "MW")
    assert label("capital_usd") == ("capital", "USD")
    assert label("margin_fraction_low90") == ("margin low", "%")
    assert label("weight_bytes_per_accelerator") == ("weight per accelerator", "byte")
    assert label("replicas") == ("replicas", "")


def printed(width: int, show, *arguments: object, **options: object) -> list[str]:  # type: ignore[no-untyped-def]
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    show(*arguments, console, **options)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


ROWS = [
    {
        "case": f"case-{place}",
        "system": f"system-{place}",
        "concurrency": 2.0**place,
        "time_per_output_token_s": 0.01 * place,
        "cost_usd_per_mtok": 1.5,
        "margin_fraction": 0.1 * place,
    }
    for place in range(1, 12)
]


def test_a_wide_terminal_shows_all() -> None:
    lines = printed(160, print_rows, ROWS, list(ROWS[0]))
    assert lines[-1].split() == ["case-11", "system-11", "2,048", "110", "1.50", "110"]
    assert not any("Not shown" in line for line in lines)
    assert "ms" in lines[1].split() or "ms" in lines[0].split()


def test_a_narrow_one_says_once_what_all_rows_share_and_keeps_the_answer() -> None:
    lines = printed(34, print_rows, ROWS, list(ROWS[0]))
    assert max(map(len, lines)) <= 34
    whole = " ".join(" ".join(lines).split())
    assert "In every row: cost 1.50 USD/Mtok." in whole
    assert "Not shown at this width: system" in whole
    assert "margin" in whole.split("Not shown")[0]


def test_a_name_that_tells_rows_apart_is_kept() -> None:
    costs = {"small-system-1": 1.0, "large-system-2": 2.0}
    rows = [{"model": "one", "system": system, "cost_usd_per_mtok": cost} for system, cost in costs.items()] * 4
    lines = printed(30, print_rows, rows, ["model", "system", "cost_usd_per_mtok"])
    assert any("small-system-1" in line for line in lines)


def test_few_rows_turn_instead_of_losing_columns() -> None:
    lines = printed(44, print_rows, ROWS[:2], list(ROWS[0]))
    assert max(map(len, lines)) <= 44
    assert [line.split()[-2:] for line in lines if line.startswith("margin")] == [["10", "20"]]
    assert not any("Not shown" in line for line in lines)


def test_numbers_never_wrap_and_text_breaks_at_words() -> None:
    columns = [Column("quantity", "", ["a rather long description of what this is"], numeric=False), Column("value", "USD", ["1,234,567,890"])]
    lines = printed(36, print_columns, columns)
    assert max(map(len, lines)) <= 36
    assert any("1,234,567,890" in line for line in lines)


def test_mixed_units_are_written_by_row() -> None:
    lines = {"cost": (87_072.0, "USD"), "margin": (0.845, "1"), "unknown": (None, "1")}
    rows = [{"quantity": quantity, "value": value, "unit": unit} for quantity, (value, unit) in lines.items()]
    shown = printed(80, print_rows, rows, ["quantity", "value", "unit"])
    assert [line.split(maxsplit=1)[1].strip() for line in shown[-3:]] == ["87,072 USD", "84.5 %", "–"]


def test_an_input_that_is_a_ratio_is_no_percentage() -> None:
    pue = {"input": "sites.here.pue", "input_name": "PUE", "input_low": 1.1, "input_value": 1.15, "input_high": 1.15, "unit": "1"}
    share = {"input": "ownership.us.occupancy", "input_name": "occupancy", "input_low": 0.4, "input_value": 0.6, "input_high": 0.8, "unit": "1"}
    change = {"input": "price_change_fraction_per_year", "input_name": "change", "input_low": -0.9, "input_value": 0.0, "input_high": 2.0, "unit": "1"}
    shown = printed(80, print_rows, [pue, share, change], ["input_name", "input_low", "input_high", "unit"])
    assert [line.split() for line in shown[-3:]] == [["PUE", "1.10", "1.15"], ["occupancy", "40", "%", "80", "%"], ["change", "-90", "%", "200", "%"]]


@pytest.fixture(scope="module")
def runs() -> dict[str, am.Run]:
    return {name: am.run(name) for name in ("quickstart", "rainier", "deepseek-day")}


@pytest.mark.parametrize("name", ["quickstart", "rainier", "deepseek-day"])
@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_run_is_readable_at_each_width(name: str, width: int, runs: dict[str, am.Run]) -> None:
    lines = printed(width, lambda console: print_run(runs[name], console))
    whole = "\n".join(lines)
    assert max(len(line) for line in lines if "http" not in line) <= width
    assert "\x1b" not in whole
    assert not re.search("[─│┃━]", whole)
    assert whole.index("Sources") > 0
    if name != "deepseek-day":
        assert whole.index("Assumptions that matter most") < whole.index("Sources")
        assert re.search(r"^margin|margin *$|margin", whole, re.MULTILINE)


def test_rainier_shows_its_published_figures(runs: dict[str, am.Run]) -> None:
    whole = "\n".join(printed(80, lambda console: print_run(runs["rainier"], console)))
    for words in ("500,000", "7,813", "650", "375", "431"):
        assert words in whole
    assert "estimate" in whole


def test_a_terminal_gets_bold_and_lines_but_the_same_words(runs: dict[str, am.Run]) -> None:
    def shown(*, terminal: bool) -> str:
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal, highlight=False, markup=False, color_system=None)
        print_run(runs["quickstart"], console)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    plain, drawn = shown(terminal=False), re.sub("\x1b\\[[0-9;]*m", "", shown(terminal=True))
    assert "──" in drawn
    assert drawn.replace("─", "-") == plain
