"""The chunk function on dask's workers: the same bytes as from threads, and one message where there is no scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_sweep_resume import TEXT, contents, wait_for, write

import accelmodel as am

pytest.importorskip("distributed")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def scheduler():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_two_worker_processes_give_the_same_bytes_as_threads(tmp_path, scheduler):
    path = write(tmp_path, TEXT.replace("steps = 40", "steps = 12"))
    am.run(path, output=tmp_path / "threads").save(tmp_path / "threads")
    am.run(path, output=f"file://{tmp_path}/dask", executor="dask", scheduler=scheduler).save(tmp_path / "dask")
    assert contents(tmp_path / "threads") == contents(tmp_path / "dask")
    assert len(list((tmp_path / "dask" / "all").glob("part-*"))) == 20


def test_what_threads_began_dask_ends(tmp_path, scheduler):
    path = write(tmp_path, TEXT.replace("steps = 40", "steps = 12"))
    am.run(path, output=tmp_path / "whole")
    am.run(path, output=tmp_path / "out")
    for number in range(3, 17):
        (tmp_path / "out" / "all" / "_chunks" / f"{number:06d}.npz").unlink()
    am.run(path, output=tmp_path / "out", executor="dask", scheduler=scheduler)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_fault_on_a_worker_is_told_as_here(tmp_path, scheduler):
    path = write(tmp_path, TEXT + "\n[studies.all.limits]\ncost_usd_per_mtok = 1.0\nmargin_fraction = 0.5\n")
    with pytest.raises(am.InputError, match="needs an offer that sells tokens"):
        am.run(path, output=tmp_path / "out", executor="dask", scheduler=scheduler)


def test_a_worker_with_another_catalogue_is_refused(tmp_path, scheduler, monkeypatch):
    from accelmodel.results.manifest import Identity
    from accelmodel.studies import sweep_executors

    real = sweep_executors.identity_of
    monkeypatch.setattr(sweep_executors, "identity_of", lambda *given: Identity(**{**vars(real(*given)), "catalogue": "another"}))
    with pytest.raises(am.InputError, match=r"a worker: .*another catalogue"):
        am.run(write(tmp_path), output=tmp_path / "out", executor="dask", scheduler=scheduler)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"executor": "dusk"}, "did you mean 'dask'?"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "give executor dask with it"),
        ({"executor": "dask", "scheduler": "nonsense://127.0.0.1:1"}, "no scheduler answers there"),
    ],
)
def test_an_executor_that_is_none_is_one_message(tmp_path: Path, options, words):
    with pytest.raises(am.InputError) as caught:
        am.run(write(tmp_path), output=tmp_path / "out", **options)
    assert words in str(caught.value)


def test_results_go_to_any_filesystem_of_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    path = write(tmp_path, TEXT.replace("steps = 40", "steps = 3"))
    am.run(path, output="memory://sweeps/one").save("memory://sweeps/one")
    am.run(path, output=tmp_path / "out").save(tmp_path / "out")
    files = fsspec.filesystem("memory")
    there = {name.removeprefix("/sweeps/one/"): files.cat_file(name) for name in files.find("/sweeps/one")}
    assert there == contents(tmp_path / "out")
    files.rm("/sweeps/one/all/_chunks/000001.npz")
    files.pipe_file("/sweeps/one/all/.part-000001.parquet.left", b"half")
    am.run(path, output="memory://sweeps/one").save("memory://sweeps/one")
    assert {name.removeprefix("/sweeps/one/"): files.cat_file(name) for name in files.find("/sweeps/one")} == there


def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_ends_nothing_half_done(tmp_path):
    path, out = write(tmp_path), tmp_path / "out"
    code = f"import sys; from accelmodel.cli.main import execute; sys.exit(execute(['run', {str(path)!r}, '--output', {str(out)!r}, '--executor', 'dask']))"
    (tmp_path / "main.py").write_text(f"if __name__ == '__main__':\n    {code}\n", encoding="utf-8")
    process = subprocess.Popen([sys.executable, tmp_path / "main.py"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(out / "all", 2, process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the result is partial" in told
    assert "Traceback" not in told
    done = len(list((out / "all" / "_chunks").glob("[0-9]*")))
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["studies"]["all"]["summary"]["chunks_done"] == done >= 2
