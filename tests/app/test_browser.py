"""The explorer in a real browser: every control answers, every chart has data, nothing is asked of the network, and what is taken away is what is shown."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import waitress
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import accelmodel as am
from accelmodel.app import controls
from accelmodel.app.live import CLOSER, FIGURES
from accelmodel.app.server import Explorer, build
from accelmodel.catalog.library import shipped_root

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TEXT = (shipped_root() / "scenarios" / "explorer.toml").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    expect.set_options(timeout=60_000)
    with contextlib.closing(Explorer()) as explorer:
        explorer.open({})  # compiles the engine where nobody did
        explorer.closer({"text": TEXT})
        server = waitress.create_server(build(explorer), host="127.0.0.1", port=0, threads=4)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.effective_port}"
        server.close()
        thread.join(5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens pages; at the end no page has complained, nor asked anybody but the server."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def visit(link: str = "", width: int = 1280, height: int = 900, **others: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **others)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") and "422" not in said.text else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else complaints.append(asked.url))
        page.goto(f"{address}/{link}")
        expect(page.locator("body")).to_have_attribute("data-answers", "1")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def move(page: Page, work: Callable[[], object]) -> None:
    """Do something, and wait for what the page then says."""
    before = page.locator("body").get_attribute("data-answers")
    work()
    expect(page.locator("body")).not_to_have_attribute("data-answers", str(before))


def written(page: Page) -> dict[str, Any]:
    return tomllib.loads(page.input_value("#text"))


def test_every_chart_has_data(visitor: Callable[..., Page]):
    page = visitor()
    for name in (*FIGURES, *CLOSER):
        expect(page.locator(f"#figure-{name} .main-svg").first).to_be_visible()
        drawn = page.evaluate(f"document.querySelector('#figure-{name} .chart').data.map((one) => one.x.filter((x) => x !== null).length)")
        assert drawn
        assert all(drawn), name
        assert page.locator(f"#figure-{name} .chart").get_attribute("aria-label")
    assert page.locator("#figure-cost-speed .scatterlayer .point").count() == 30


@pytest.mark.parametrize("of", [controls.BASE, "0"])
def test_every_control_answers(visitor: Callable[..., Page], of: str):
    page = visitor()
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    keys = page.evaluate(f"[...document.querySelectorAll('[data-of=\"{of}\"][data-control]')].map((one) => one.dataset.control)")
    expected = (
        [control.key for _, panel in controls.PANELS for control in panel]
        if of == controls.BASE
        else [one.key for one in (*controls.CARD, *controls.CARD_MORE)]
    )
    assert keys == expected
    for key in keys:
        place = page.locator(f"#set-{of}-{key}")
        before = page.input_value("#text")
        if place.evaluate("one => one.type") == "number":
            slider = page.locator(f"#set-{of}-{key} + input")
            slider.focus()
            move(page, lambda: page.keyboard.press("ArrowRight"))
            assert float(place.input_value()) == json.loads(str(slider.get_attribute("data-stops")))[int(slider.input_value())]
        else:
            values = place.evaluate("one => [...one.options].filter((option) => !option.selected && option.value).map((option) => option.value)")
            if not values:
                continue
            move(page, lambda place=place, values=values: place.select_option(values[-1]))
            if key != controls.LOAD_KIND:  # what the targets allow is no load where there are no targets, and shown as none
                assert place.input_value() == values[-1]
        assert page.input_value("#text") != before, key
        if page.text_content("#message") or page.locator("#headline-0 .why").count():
            page.fill("#text", TEXT)  # what was asked for cannot be, and was said so: begin again
            move(page, lambda: page.click("#apply"))
            page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")


def test_the_page_shows_what_a_run_of_its_file_says(visitor: Callable[..., Page], tmp_path: Path):
    page = visitor()
    move(page, lambda: page.fill("#set-base-load_amount", "57"))
    expect(page.locator("#table tr:has(th[data-column=concurrency]) td").first).to_have_text("57")
    with page.expect_download() as saved:
        page.click("#save")
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    assert path.read_text(encoding="utf-8") == page.input_value("#text")
    rows = am.run(path).tables["load"].to_pylist()
    for name in ("cost_usd_per_mtok", "margin_fraction", "time_to_first_token_s", "output_tokens_per_s_per_accelerator"):
        shown = page.locator(f"#table tr:has(th[data-column={name}]) data").evaluate_all("all => all.map((one) => one.value)")
        assert [float(value) for value in shown] == [row[name] for row in rows]


def test_a_slider_is_dragged_and_the_answer_follows_to_the_end(visitor: Callable[..., Page]):
    page = visitor()
    slider = page.locator("#set-base-occupancy + input")
    slider.focus()
    for _ in range(7):
        page.keyboard.press("ArrowRight", delay=5)
    expect(page.locator("#text")).to_have_value(re.compile("occupancy = 0.95"))
    shown = page.locator("#table tr:has(th[data-column=occupancy]) data").first
    expect(shown).to_have_attribute("value", "0.95")


def test_alternatives_come_and_go_and_are_named(visitor: Callable[..., Page]):
    page = visitor()
    for count in (4, 5, 6):
        move(page, lambda: page.click("#add"))
        expect(page.locator(".card")).to_have_count(count)
    page.click("#add")
    expect(page.locator("#message")).to_contain_text("up to 6 alternatives")
    move(page, lambda: (page.fill("#name-5", "rented"), page.press("#name-5", "Tab")))
    assert list(written(page)["cases"])[-1] == "rented"
    move(page, lambda: page.select_option("#set-5-offer_by_hour", "capacity-block"))
    expect(page.locator("#closer option")).to_have_count(6)
    move(page, lambda: page.locator(".remove").nth(1).click())
    assert list(written(page)["cases"]) == ["h100", "trainium2", "alternative-4", "alternative-5", "rented"]
    page.fill("#name-0", "rented")
    page.press("#name-0", "Tab")
    expect(page.locator("#message")).to_contain_text("name of another alternative")
    expect(page.locator("#name-0")).to_have_value("h100")


def test_a_link_opens_the_same_elsewhere(visitor: Callable[..., Page]):
    page = visitor()
    move(page, lambda: page.fill("#set-1-accelerators", "4"))
    other = visitor(page.url[page.url.index("#") :])
    assert other.input_value("#text") == page.input_value("#text")
    expect(other.locator("#headline-1 strong").first).to_have_text(str(page.locator("#headline-1 strong").first.text_content()))


def test_an_example_and_a_file_are_opened(visitor: Callable[..., Page], tmp_path: Path):
    page = visitor()
    move(page, lambda: page.select_option("#example", "rainier"))
    expect(page.locator("#title")).to_contain_text("Project Rainier")
    assert [str(name.input_value()) for name in page.locator(".name").all()] == ["sonnet-price", "haiku-price"]
    mine = tmp_path / "mine.toml"
    mine.write_text(TEXT.replace("# What `accelmodel app` opens with", "# My remark"), encoding="utf-8")
    move(page, lambda: page.set_input_files("#file", str(mine)))
    assert "# My remark" in page.input_value("#text")
    move(page, lambda: page.select_option("#set-base-kv", "bf16"))
    assert "# My remark" in page.input_value("#text")


def test_a_typo_in_the_text_is_named_and_mended(visitor: Callable[..., Page]):
    page = visitor()
    page.fill("#text", TEXT.replace("occupancy = 0.6", "ocupancy = 0.6"))
    page.click("#apply")
    expect(page.locator("#message")).to_contain_text("base.ocupancy")
    page.fill("#text", TEXT)
    move(page, lambda: page.click("#apply"))
    expect(page.locator("#message")).to_be_empty()


@pytest.mark.parametrize("ending", ["html", "xlsx", "csv.zip"])
def test_a_report_is_taken_away(visitor: Callable[..., Page], tmp_path: Path, ending: str):
    page = visitor()
    with page.expect_download(timeout=60_000) as taken:
        page.click(f"[data-ending='{ending}']")
    assert re.fullmatch(rf"llama-3-3-70b-[a-z-]+\.{re.escape(ending)}", taken.value.suggested_filename)
    path = tmp_path / "taken"
    taken.value.save_as(path)
    assert path.read_bytes()[:9] == b"<!DOCTYPE" if ending == "html" else path.read_bytes()[:2] == b"PK"
    expect(page.locator("#progress")).to_have_text("The report is made.")


def test_a_report_is_stopped(visitor: Callable[..., Page]):
    page = visitor()
    page.click("[data-ending=html]")
    page.click("#stop")
    expect(page.locator("#progress")).to_have_text("The report was stopped.")
    expect(page.locator("#stop")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_scrolls_down_only(visitor: Callable[..., Page], scheme: str):
    page = visitor(width=390, height=844, color_scheme=scheme)
    expect(page.locator("#figure-cost-speed .main-svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ink, paper = page.evaluate("[getComputedStyle(document.querySelector('#figure-cost-speed text')).fill, getComputedStyle(document.body).backgroundColor]")
    assert abs(brightness(ink) - brightness(paper)) > 125


def brightness(colour: str) -> float:
    red, green, blue = (int(value) for value in re.findall(r"\d+", colour)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_controls_are_reached_and_named_without_a_mouse(visitor: Callable[..., Page]):
    page = visitor()
    fields = page.locator("input, select, textarea, button")
    assert fields.evaluate_all("all => all.filter((one) => !one.labels?.length && !one.ariaLabel && !one.textContent.trim())") == []
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#example")).to_be_focused()


@pytest.mark.parametrize("width", [1280, 1600])
def test_charts_stand_beside_each_other_each_in_its_column(visitor: Callable[..., Page], width: int):
    page = visitor(width=width)
    for name in (*FIGURES, *CLOSER):
        expect(page.locator(f"#figure-{name} .main-svg").first).to_be_attached()
    page.wait_for_timeout(300)
    for name in (*FIGURES, *CLOSER):
        whole, inner = (page.locator(one).first.bounding_box() for one in (f"#figure-{name}", f"#figure-{name} .main-svg"))
        assert whole is not None
        assert inner is not None
        assert inner["width"] <= whole["width"] + 1, name
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_is_asked_while_an_answer_is_under_way_comes_in_turn(visitor: Callable[..., Page]):
    page = visitor()
    page.route("**/answer", lambda route: (time.sleep(0.4), route.continue_()))
    page.fill("#set-base-occupancy", "40")
    page.wait_for_timeout(300)  # typing is over, the question is asked
    page.click("#add")
    page.fill("#name-0", "first")
    page.press("#name-0", "Tab")
    page.select_option("#example", "rainier")
    expect(page.locator("#title")).to_contain_text("Project Rainier")
    expect(page.locator("#text")).to_have_value(re.compile("sonnet-price"))
    assert list(written(page)["cases"]) == ["sonnet-price", "haiku-price"]
    expect(page.locator(".card")).to_have_count(2)


def test_text_that_was_typed_is_not_lost_to_a_control(visitor: Callable[..., Page]):
    page = visitor()
    page.fill("#text", TEXT.replace("concurrency = 32", "concurrency = 48"))
    page.select_option("#set-base-kv", "bf16")
    expect(page.locator("#table tr:has(th[data-column=concurrency]) td").first).to_have_text("48")
    assert written(page)["base"]["concurrency"] == 48


def test_a_scenario_without_numbers_keeps_none_of_the_one_before(visitor: Callable[..., Page]):
    page = visitor()
    move(page, lambda: page.select_option("#example", "cost-of-ownership"))
    expect(page.locator("#message")).to_contain_text("No numbers here")
    expect(page.locator("#answer")).to_be_empty()
    expect(page.locator("#table")).to_be_empty()
    expect(page.locator("figure:visible")).to_have_count(0)


def test_a_damaged_link_opens_a_scenario_all_the_same(visitor: Callable[..., Page]):
    page = visitor("#damaged")
    expect(page.locator("#message")).to_contain_text("cut when it was copied")
    expect(page.locator(".card")).to_have_count(3)


def test_two_clicks_make_one_report(visitor: Callable[..., Page]):
    page = visitor()
    with page.expect_download(timeout=60_000):
        page.dblclick("[data-ending=html]")
    expect(page.locator("#progress")).to_have_text("The report is made.")
