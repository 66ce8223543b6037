"""Sweeps that are killed, interrupted, or run out of room: what is there is whole, and the same command goes on to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import accelmodel as am
from accelmodel.results import store
from accelmodel.studies import sweep, sweep_executors

TEXT = """
title = "A sweep that is stopped"

[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1

[axes]
kv = ["bf16", "fp8"]
input_tokens = { from = 100, to = 4100, steps = 40 }
output_tokens = { from = 10, to = 500, steps = 25 }
concurrency = { from = 1, to = 400, steps = 100, scale = "log" }

[studies.all]
kind = "sweep"
points = true
chunk_points = 3000

[studies.all.reductions.frontier]
kind = "frontier"
minimise = ["cost_usd_per_mtok", "time_per_output_token_s"]

[studies.all.reductions.quantiles]
kind = "quantiles"
columns = ["cost_usd_per_mtok"]
"""
UNLIMITED = resource.RLIM_INFINITY
CHUNKS = 67  # of 200,000 points


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "stopped.toml"
    path.write_text(text, encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def start(path: Path, out: Path, *, limit: str = "") -> subprocess.Popen[str]:
    """The sweep in a process of its own."""
    code = f"{limit}\nimport sys; from accelmodel.cli.main import execute; sys.exit(execute(['run', {str(path)!r}, '--output', {str(out)!r}, '--quiet']))"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until so many chunks are done, or the process is."""
    while process.poll() is None and len(list(folder.glob("_chunks/[0-9]*"))) < count:
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The files of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    am.run(write(folder), output=folder / "out").save(folder / "out")
    return contents(folder / "out")


def test_a_sweep_killed_at_any_moment_goes_on_to_the_same_bytes(tmp_path, whole):
    path, out, chance = write(tmp_path), tmp_path / "out", random.Random(7)
    done = 0
    for _ in range(3):
        process = start(path, out)
        wait_for(out / "all", done + chance.randrange(1, 10), process)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.communicate()
        # What is there is whole, and of the same bytes as in the end; at most the chunks that ran have no record yet.
        now = contents(out / "all")
        assert json.loads(now["_manifest.json"])["status"] in ("partial", "complete")
        kept = {name for name in now if name.startswith("_chunks/") and "/." not in name}
        assert len(kept) >= done
        assert all(now[name] == whole[f"all/{name}"] for name in kept)
        assert all(now[name] == whole[f"all/{name}"] for name in now if name.startswith("part-"))
        assert all(f"part-{name[8:14]}.parquet" in now for name in kept)
        done = len(kept)
    assert 0 < done < CHUNKS
    times = {path: path.stat().st_mtime_ns for path in (out / "all" / "_chunks").glob("[0-9]*")}
    said: list[str] = []
    am.run(path, output=out, progress=said.append).save(out)
    assert contents(out) == whole
    assert f"{done * 3000:,} of 200,000 points were done before" in said
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())  # none was computed again


def test_a_whole_sweep_computes_nothing_again(tmp_path, whole, monkeypatch):
    path = write(tmp_path)
    for name, content in whole.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    monkeypatch.setattr(sweep_executors, "run_chunk", lambda *_: pytest.fail("computed again"))
    run = am.run(path, output=tmp_path / "out")
    assert run.summary["all"]["complete"] is True
    assert pq.read_table(tmp_path / "out" / "all.parquet").equals(run.tables["all"])


@pytest.mark.parametrize("harm", ["record cut", "record empty", "part gone"])
def test_a_chunk_that_is_damaged_is_computed_again(tmp_path, whole, harm):
    path, out = write(tmp_path), tmp_path / "out"
    for name, content in whole.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    record = out / "all" / "_chunks" / "000005.npz"
    if harm == "part gone":
        (out / "all" / "part-000005.parquet").unlink()
    else:
        record.write_bytes(record.read_bytes()[: 200 if harm == "record cut" else 0])
    (out / "all" / ".part-000009.parquet.left").write_bytes(b"half")
    am.run(path, output=out).save(out)
    assert contents(out) == whole


def test_ctrl_c_leaves_a_valid_result_that_says_it_is_partial(tmp_path, whole):
    path, out = write(tmp_path), tmp_path / "out"
    process = start(path, out)
    wait_for(out / "all", 5, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "partial" in told
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))["studies"]["all"]
    assert document["summary"]["complete"] is False
    assert 5 <= document["summary"]["chunks_done"] < CHUNKS
    assert document["notes"][0].startswith(f"Partial: interrupted after {document['summary']['chunks_done']} of {CHUNKS} chunks")
    assert document["summary"]["ran"] == sum(pq.read_metadata(part).num_rows for part in (out / "all").glob("part-*"))
    assert pq.read_table(out / "all.parquet").num_rows > 0
    assert pq.read_table(out / "all.quantiles.parquet")["points"].to_pylist()[0] == document["summary"]["ran"]
    assert json.loads((out / "all" / "_manifest.json").read_text(encoding="utf-8"))["status"] == "partial"
    am.run(path, output=out).save(out)
    assert contents(out) == whole


# --- what is different is not mixed ------------------------------------------------------------------------------------------------------------


def test_results_of_different_inputs_are_never_mixed(tmp_path):
    small = TEXT.replace("steps = 40", "steps = 3")
    path, out = write(tmp_path, small), tmp_path / "out"
    am.run(path, output=out)
    before = contents(out)

    def refused(words: str, **options: object) -> None:
        with pytest.raises(am.InputError, match=words) as caught:
            am.run(path, output=out, **options)  # type: ignore[arg-type]
        assert caught.value.key == "--output"
        assert contents(out) == before

    refused("another scenario", set={"base.accelerators": 2})
    refused("another scenario", set={"axes.kv": ["fp8"]})
    refused("another scenario", set={"studies.all.chunk_points": 2000})
    (tmp_path / "mine" / "sites").mkdir(parents=True)
    site = (Path(am.__file__).parents[2] / "scenarios" / "sites" / "new-carlisle.toml").read_text(encoding="utf-8")
    (tmp_path / "mine" / "sites" / "new-carlisle.toml").write_text(site + "\n# another tariff\n", encoding="utf-8")
    refused("another catalogue", catalog=am.Library(tmp_path / "mine"))
    am.run(path, output=out, set={"title": "Another title"})  # changes no result
    assert contents(out) == before


def test_another_version_or_engine_is_refused(tmp_path, monkeypatch):
    path, out = write(tmp_path, TEXT.replace("steps = 40", "steps = 3")), tmp_path / "out"
    am.run(path, output=out)
    monkeypatch.setattr(am, "__version__", "9.9.9")
    with pytest.raises(am.InputError, match="another version of accelmodel"):
        am.run(path, output=out)


def test_a_model_beside_the_scenario_counts_with_its_content(tmp_path):
    root = Path(am.__file__).parents[2]
    model = tmp_path / "own.toml"
    model.write_text((root / "scenarios" / "models" / "llama-3.1-8b.toml").read_text(encoding="utf-8"), encoding="utf-8")
    path = write(tmp_path, TEXT.replace("steps = 40", "steps = 3").replace('"llama-3.1-8b"', '"own.toml"'))
    am.run(path, output=tmp_path / "out")
    model.write_text(model.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    with pytest.raises(am.InputError, match="another scenario"):
        am.run(path, output=tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "out" / "all").mkdir(parents=True)
    (tmp_path / "out" / "all" / "thesis.doc").write_text("", encoding="utf-8")
    with pytest.raises(am.InputError, match=r"holds 'thesis\.doc' and no manifest"):
        am.run(write(tmp_path), output=tmp_path / "out")
    (tmp_path / "out" / "all" / "_manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(am.InputError, match="is no manifest"):
        am.run(write(tmp_path), output=tmp_path / "out")


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    path, out = write(tmp_path), tmp_path / "out"
    with store.folder_at(out).alone("all"), pytest.raises(am.InputError, match="another run is writing there"):
        am.run(path, output=out)
    assert am.run(path, output=out, set={"axes.input_tokens": [100]}).summary["all"]["complete"]


def test_progress_tells_points_rate_and_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_TOLD_FROM_S", 0.0)
    monkeypatch.setattr(sweep, "_TOLD_EVERY_S", 0.0)
    said: list[str] = []
    am.run(write(tmp_path), output=tmp_path / "out", progress=said.append)
    assert said[0] == "study 'all'"
    assert all(re.fullmatch(r"[\d,]+ of 200,000 points, [\d.e+]+ million/s, (\d+ s|\d+ min|[\d,]+ h \d+ min) left", line) for line in said[1:])
    assert said[-1].startswith("200,000 of 200,000 points")


# --- no room -----------------------------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_message_and_the_sweep_goes_on_where_there_is_room(tmp_path, whole, monkeypatch):
    path, out, room = write(tmp_path), tmp_path / "out", [40]
    import pyarrow.parquet

    real = pyarrow.parquet.write_table

    def full(table, where, **options):
        room[0] -= 1
        if room[0] < 0:
            Path(where).write_bytes(b"half a part")
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(table, where, **options)

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(store.DiskFullError) as caught:
        am.run(path, output=out)
    assert "no room for it" in str(caught.value)
    assert "of 67 chunks are kept: make room" in str(caught.value)
    assert "\n" not in str(caught.value)
    now = contents(out)
    assert all(content == whole[name] for name, content in now.items() if name != "all/_manifest.json")
    assert sum("_chunks/" in name for name in now) >= 38
    monkeypatch.undo()
    am.run(path, output=out).save(out)
    assert contents(out) == whole


def test_a_limit_on_files_is_told_by_the_command_and_leaves_nothing_half_written(tmp_path):
    path, out = write(tmp_path), tmp_path / "out"
    limit = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))"
    )
    process = start(path, out, limit=limit)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert told.count("error:") == 1
    assert "make room" in told
    assert "Traceback" not in told
    assert not [name for name in contents(out) if "/." in name or name.startswith(".")]
    assert os.listdir(out) == ["all"]  # noqa: PTH208  its files have no temporary ones among them
