"""The explorer's server: what the page is told is what a run of the same file says, whoever else asks at the time."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from flask.testing import FlaskClient

import accelmodel as am
from accelmodel.app import document, jobs
from accelmodel.app.server import Explorer, build
from accelmodel.catalog.library import shipped_root

TEXT = (shipped_root() / "scenarios" / "explorer.toml").read_text(encoding="utf-8")
WITHOUT_REPLICAS = {"billion-point-frontier", "cost-of-ownership", "deepseek-day", "mixed-fleet", "rainier-buildout", "trace-sizing"}
LOCAL = "http://127.0.0.1:8050"


class Cells(HTMLParser):
    """Exact values of the page's table: quantity -> value of each alternative, and its heads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, list[float]] = {}
        self._of = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "th" and "data-column" in given:
            self._of = str(given["data-column"])
        elif tag == "data":
            self.values.setdefault(self._of, []).append(float(str(given["value"])))


@pytest.fixture(scope="module")
def explorer() -> Iterator[Explorer]:
    with contextlib.closing(Explorer()) as found:
        yield found


@pytest.fixture(scope="module")
def client(explorer: Explorer) -> FlaskClient:
    return build(explorer).test_client()


def asked(client: FlaskClient, verb: str, expect: int = 200, **question: Any) -> dict[str, Any]:
    response = client.post(f"/{verb}", json=question, base_url=LOCAL)
    assert response.status_code == expect, response.text
    found: dict[str, Any] = response.json
    return found


def ran(text: str, folder: Path) -> am.Run:
    path = folder / "explorer.toml"
    path.write_text(text, encoding="utf-8")
    return am.run(path)


@pytest.mark.parametrize(
    "moved",
    [
        {},
        {"base": {"load_amount": 100, "occupancy": 35, "input_tokens": 3000, "output_tokens": 700}},
        {"base": {"load_kind": "targets", "tpot_s": 0.06, "ttft_s": 2}, "1": {"accelerators": 4, "offer_by_hour": "on-demand"}},
        {"2": {"weights": "bf16", "purchase_usd": 12000}, "0": {"tensor_parallel": 4, "attention_data_parallel": 2}},
    ],
)
def test_the_page_s_numbers_are_those_of_a_run_of_its_file(client: FlaskClient, tmp_path: Path, moved: dict[str, dict[str, Any]]):
    answer = asked(client, "answer", text=TEXT, moved=moved)
    table = ran(answer["text"], tmp_path).tables["load"]
    assert answer["names"] == table["case"].to_pylist() == ["h100", "b200", "trainium2"]
    cells = Cells(answer["table"]).values
    for name in ("cost_usd_per_mtok", "margin_fraction", "time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "power_w", "concurrency"):
        assert cells[name] == table[name].to_pylist()  # to the last digit


def test_the_frontier_drawn_is_that_of_the_run(client: FlaskClient, tmp_path: Path):
    answer = asked(client, "answer", text=TEXT)
    rows = ran(TEXT, tmp_path).tables["frontier"].to_pylist()
    for line in answer["figures"]["cost-speed"]["figure"]["data"]:
        own = sorted((row for row in rows if row["case"] == line["name"]), key=lambda row: row["output_tokens_per_s_per_user"])
        assert line["x"] == [row["output_tokens_per_s_per_user"] for row in own]
        assert line["y"] == [row["cost_usd_per_mtok"] for row in own]


def test_the_closer_look_is_the_file_s_own_price_study(client: FlaskClient, tmp_path: Path):
    text = document.edited(TEXT, {("studies", "price", "discount_fraction"): 0.2})
    found = asked(client, "closer", text=text, case="b200")
    steps = [row for row in ran(text, tmp_path).tables["price"].to_pylist() if row["case"] == "b200"]
    drawn = found["figures"]["price"]["figure"]["data"][0]
    assert drawn["y"] == [row["step_usd_per_mtok"] for row in steps]
    assert found["figures"]["operators"]
    assert found["figures"]["roofline"]
    assert found["missing"] == ""


def test_a_load_of_the_file_s_own_axis_and_of_cases(client: FlaskClient):
    text = document.edited(TEXT, {("axes", "concurrency"): [3, 9, 27], ("base", "concurrency"): None, ("cases", "h100", "concurrency"): 5})
    answer = asked(client, "answer", text=text)
    assert "two overrides of one key" in answer["message"]  # a run refuses the file, and the page says so beside its numbers
    assert [len(line["x"]) for line in answer["figures"]["cost-speed"]["figure"]["data"]] == [3, 3, 3]
    assert Cells(answer["table"]).values["concurrency"] == [5, 32, 32]
    assert "sets no load for b200, trainium2: 32 requests at a time" in answer["answer"]


def test_an_alternative_that_cannot_be_is_said_on_its_card_and_the_others_stand(client: FlaskClient):
    answer = asked(client, "answer", text=TEXT, moved={"1": {"offer_by_hour": "savings-plan-1y-no-upfront", "tensor_parallel": 3}})
    assert "why" in answer["headlines"][1]
    assert "why" not in answer["headlines"][0] + answer["headlines"][2]
    assert len(answer["figures"]["cost-speed"]["figure"]["data"]) == 2
    too_large = asked(client, "answer", text=TEXT, moved={"2": {"accelerators": 1, "model": "deepseek-v3"}})
    assert "do not fit: weights" in too_large["headlines"][2]


def test_a_scenario_without_replicas_opens_and_says_where_its_numbers_are(client: FlaskClient):
    opened = asked(client, "open", example="cost-of-ownership")
    assert opened["message"].startswith("No numbers here: base.model: is missing")
    assert "in its reports" in opened["message"]
    assert "set-base-model" in opened["panels"]


def test_every_shipped_scenario_opens(client: FlaskClient):
    for name in sorted(path.stem for path in (shipped_root() / "scenarios").glob("*.toml")):
        opened = asked(client, "open", example=name)
        assert opened["text"] == (shipped_root() / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")
        assert ("answer" in opened) == (name not in WITHOUT_REPLICAS), name
        assert opened["message"].startswith("No numbers here") == (name in WITHOUT_REPLICAS), name


def test_open_add_rename_remove_and_the_address(client: FlaskClient):
    more = asked(client, "open", text=TEXT, add=True)
    assert more["names"] == ["h100", "b200", "trainium2", "alternative-4"]
    assert "is no name: small letters" in asked(client, "open", expect=422, text=more["text"], rename="alternative-4", name="<b>mine</b>")["message"]
    assert asked(client, "open", text=more["text"], rename="alternative-4", name=" My own ")["names"][3] == "my-own"
    other = asked(client, "open", text=more["text"], rename="alternative-4", name="mine")
    assert asked(client, "open", link=other["link"])["text"] == other["text"]
    assert asked(client, "open", text=other["text"], remove="mine")["names"] == ["h100", "b200", "trainium2"]


def test_offers_follow_the_system_that_was_picked(client: FlaskClient):
    answer = asked(client, "answer", text=TEXT, moved={"0": {"system": "trn2.48xlarge"}, "base": {"model": "llama-3.1-8b"}})
    tokens = {f"set-{of}-offer_by_token" for of in ("base", 0, 1, 2)}  # alternatives that name no model have the base's
    assert set(answer["set"]) == {"set-0-offer_by_hour", *tokens}
    assert "trn2.48xlarge:capacity-block" in answer["set"]["set-0-offer_by_hour"]


@pytest.mark.parametrize(
    ("verb", "question", "status", "said"),
    [
        ("open", {"text": "title = = 1"}, 422, "is no TOML"),
        ("open", {"link": "nonsense"}, 422, "cut when it was copied"),
        ("open", {"example": "rainer"}, 422, "did you mean 'rainier'"),
        ("open", {"text": TEXT, "rename": "h100", "name": "b200"}, 422, "name of another"),
        ("report", {"text": TEXT, "ending": "exe"}, 422, "is no report"),
        ("look", {"job": "0" * 32}, 422, "not being made"),
        ("answer", {}, 400, "KeyError"),
        ("answer", {"text": TEXT, "moved": {"7": {"accelerators": 1}}}, 400, "IndexError"),
        ("answer", {"text": TEXT, "moved": {"base": {"__class__": 1}}}, 400, "KeyError"),
    ],
)
def test_a_wrong_question_has_one_clear_answer(client: FlaskClient, verb: str, question: dict[str, Any], status: int, said: str):
    assert said in asked(client, verb, expect=status, **question)["message"]


def test_a_typo_in_the_text_names_the_key_and_the_nearest(client: FlaskClient):
    answer = asked(client, "answer", text=TEXT.replace("occupancy", "ocupancy"))
    assert "base.ocupancy" in answer["message"]
    assert "occupancy" in answer["message"]
    assert "/tmp" not in answer["message"]


def test_markup_of_a_scenario_is_text(client: FlaskClient):
    text = TEXT.replace("[cases.h100]", '[cases."<img src=x onerror=alert(1)>"]').replace('title = "', 'title = "<script>')
    opened = asked(client, "open", text=text)
    assert opened["names"][0] == "<img src=x onerror=alert(1)>"
    assert "is no name" in opened["message"]  # which, like the title and the text, is shown as text
    parts = [opened[name] for name in ("panels", "cards", "answer", "table", *["headlines"])]
    assert "<img" not in json.dumps(parts)
    assert "&lt;img" in json.dumps(parts)


def test_only_who_asks_for_this_machine_is_answered(client: FlaskClient):
    assert client.get("/", base_url="http://evil.example:8050").status_code == 403
    for host in ("http://localhost:8050", "http://127.0.0.1:1", "http://[::1]:8050"):
        page = client.get("/", base_url=host)
        assert page.status_code == 200
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert client.post("/answer", data=json.dumps({"text": TEXT}), content_type="text/plain", base_url=LOCAL).status_code == 415
    assert client.get("/server.py", base_url=LOCAL).status_code == 404


def test_several_people_at_once_have_their_own_answers(explorer: Explorer):
    loads = [4 + 3 * place for place in range(24)]
    found: dict[int, list[float]] = {}

    def person(load: int) -> None:
        answer = asked(build(explorer).test_client(), "answer", text=TEXT, moved={"base": {"load_amount": load}})
        asked(build(explorer).test_client(), "closer", text=answer["text"], case="b200")
        found[load] = Cells(answer["table"]).values["concurrency"]

    people = [threading.Thread(target=person, args=(load,)) for load in loads]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert found == {load: [float(load)] * 3 for load in loads}


def finished(client: FlaskClient, text: str, ending: str) -> bytes:
    job = asked(client, "report", text=text, ending=ending)["job"]
    for _ in range(600):
        if asked(client, "look", job=job)["is_done"]:
            break
        time.sleep(0.1)
    taken = client.get(f"/report/{job}", base_url=LOCAL)
    assert taken.status_code == 200
    assert f".{ending}" in taken.headers["Content-Disposition"]
    assert client.get(f"/report/{job}", base_url=LOCAL).status_code == 404  # taken once
    return taken.data


def test_reports_hold_the_page_s_numbers(client: FlaskClient):
    answer = asked(client, "answer", text=TEXT, moved={"base": {"load_amount": 48}})
    cells = Cells(answer["table"]).values["cost_usd_per_mtok"]
    page = finished(client, answer["text"], "html").decode()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert [row["cost_usd_per_mtok"] for row in data["load"]["rows"]] == cells
    sheet = openpyxl.load_workbook(io.BytesIO(finished(client, answer["text"], "xlsx")), data_only=True)["load"]
    assert all(any(cell.value == pytest.approx(value, rel=1e-15) for row in sheet.iter_rows() for cell in row) for value in cells)


def test_a_report_of_a_wrong_scenario_says_what_is_wrong_and_one_can_be_stopped(client: FlaskClient, explorer: Explorer):
    job = asked(client, "report", text=TEXT.replace("p5.48xlarge", "p5.48xlarg"), ending="html")["job"]
    for _ in range(600):
        response = client.post("/look", json={"job": job}, base_url=LOCAL)
        if response.status_code == 422:
            break
        time.sleep(0.1)
    assert "did you mean 'p5.48xlarge'" in response.json["message"]
    job = asked(client, "report", text=TEXT, ending="html")["job"]
    asked(client, "stop", job=job)
    assert asked(client, "look", expect=422, job=job)["message"]
    assert not explorer.jobs._running


def test_published_measurements_lie_over_the_frontiers(client: FlaskClient):
    """As a report draws them, at most 60 a chart; the colour on a card stays that of its line."""
    text = """
[base]
model = "gpt-oss-120b"
weights = "mxfp4"
input_tokens = 1000
output_tokens = 1000
accelerators = 8
tensor_parallel = 8
[cases.a]
system = "p5en.48xlarge"
[cases.b]
system = "p6-b200.48xlarge"
"""
    figures = asked(client, "answer", text=text)["figures"]
    for place in ("cost-speed", "throughput-speed"):
        names = [trace["name"] for trace in figures[place]["figure"]["data"]]
        assert names == ["a", "b", "a: measured", "b: measured"]
        assert 2 <= sum(len(trace["x"]) for trace in figures[place]["figure"]["data"][2:]) <= 60
        assert "published measurements" in figures[place]["caption"]


def test_the_two_sides_of_a_load_move_together(client: FlaskClient):
    kind, amount = "set-base-load_kind", "set-base-load_amount"
    targets = asked(client, "answer", text=TEXT, moved={"base": {"load_kind": "targets", "ttft_s": 2, "tpot_s": 0.05}})
    assert targets["set"][amount] is None
    typed = asked(client, "answer", text=targets["text"], moved={"base": {"load_amount": 57}})
    assert Cells(typed["table"]).values["concurrency"] == [57] * 3
    assert 'value="concurrency" selected' in typed["set"][kind]
    back = asked(client, "answer", text=targets["text"], moved={"base": {"load_kind": "requests_per_s"}})
    assert back["set"][amount] == 32
    none = asked(client, "answer", text=typed["text"], moved={"base": {"load_amount": None}})
    assert none["set"][amount] is None


def test_a_discount_takes_no_other_study_s_place(client: FlaskClient):
    text = document.edited(TEXT, {("studies", "price"): None}) + '[studies.price]\nkind = "points"\naxes = []\n'
    answer = asked(client, "answer", text=text, moved={"base": {"discount_fraction": 10}})
    studies = document.parsed(answer["text"])["studies"]
    assert studies["price"] == {"kind": "points", "axes": []}
    assert studies["price-2"] == {"kind": "waterfall", "discount_fraction": 0.1}


@pytest.mark.parametrize("line", ["offer = 5", "offer = [5]", "model = 5", "occupancy = nan", "ttft_s = inf", 'weights = ["fp8"]'])
def test_values_of_a_wrong_kind_are_named(client: FlaskClient, line: str):
    key = line.split(" ")[0]
    kept = "\n".join(one for one in TEXT.splitlines() if not one.startswith(f"{key} ="))
    response = client.post("/open", json={"text": kept.replace("[base]", f"[base]\n{line}")}, base_url=LOCAL)
    assert f"base.{key}" in response.json["message"]
    assert "question" not in response.json["message"]


def test_published_models_may_be_called_as_they_are_published(client: FlaskClient):
    answer = asked(client, "answer", text=TEXT.replace("llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"))
    assert answer["message"] == ""
    assert answer["names"] == ["h100", "b200", "trainium2"]


def test_more_loads_than_a_drawing_shows_are_thinned(client: FlaskClient):
    answer = asked(client, "answer", text=document.edited(TEXT, {("axes", "concurrency"): list(range(1, 2001))}))
    assert [len(line["x"]) for line in answer["figures"]["cost-speed"]["figure"]["data"]][:3] == [200] * 3


def test_jobs_that_nobody_asks_for_any_more_leave_their_place(client: FlaskClient, explorer: Explorer):
    for _ in range(jobs.AT_ONCE):
        asked(client, "report", text=TEXT, ending="html")
    assert "are being made" in asked(client, "report", expect=422, text=TEXT, ending="html")["message"]
    for job in explorer.jobs._running.values():
        job.asked_at -= jobs._LEFT_S + 1
    asked(client, "report", text=TEXT, ending="html")
    assert len(explorer.jobs._running) == 1
    explorer.jobs.close()
