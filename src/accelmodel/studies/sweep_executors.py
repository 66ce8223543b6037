"""Who computes the chunks of a sweep: threads of this process, or workers of dask's. Both call one function with a job and a chunk's number."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelmodel.catalog.library import Library, shipped_root
from accelmodel.errors import InputError
from accelmodel.results.manifest import Identity, hash_of
from accelmodel.results.parts import part_name, write_arrays, write_part
from accelmodel.results.store import folder_at
from accelmodel.studies.run import Context, Executor
from accelmodel.studies.scenario import Scenario
from accelmodel.studies.sweep_chunk import Chunks
from accelmodel.studies.sweep_grid import Sweep

RECORDS = "_chunks"
_SHIPPED = ""  # stands for the entries that come with the package, wherever that lies on a worker
_PLACES = 2  # chunks that wait or run, for each that can run at a time


@dataclass(frozen=True)
class Job:
    """A sweep as it is sent to a worker: the scenario, where names of files are found from, the catalogue's own folders, and where results go."""

    scenario: Scenario
    study: str
    folder: str
    roots: tuple[str, ...]
    output: str | None
    identity: Identity

    @classmethod
    def of(cls, context: Context, study: str) -> Job:
        """The job of a study of this run."""
        roots = tuple(_SHIPPED if root == shipped_root() else str(root.resolve()) for root in context.catalog.roots)
        output = None if context.output is None else _absolute(context.output)
        return cls(context.scenario, study, str(context.folder.resolve()), roots, output, identity_of(context, study))


def _absolute(output: Path | str) -> str:
    return str(output) if "://" in str(output) else str(Path(output).resolve())


def identity_of(context: Context, study: str) -> Identity:
    """What a sweep's results depend on: what the scenario says of it, files beside it, the catalogue, the version, and the engine's sources."""
    from accelmodel import __version__
    from accelmodel.core import jit

    scenario, asked = context.scenario, context.scenario.studies[study]
    said = {
        "study": asked.model_dump(mode="json"),
        "situations": [scenario.situation(case) for case in scenario.chosen(getattr(asked, "cases", ()))],
        "cases": scenario.chosen(getattr(asked, "cases", ())),
        "axes": {name: scenario.steps(name) for name in scenario.axes},
        "fitting": scenario.only_fitting,
        "exclude": scenario.exclude,
        "files": _files_beside(context),
    }
    return Identity(hash_of(said), context.catalog.sha256, __version__, jit.cache_folder().name)


def _files_beside(context: Context) -> dict[str, str]:
    """Content of the files that situations and axes name by path."""
    scenario = context.scenario
    situations = [scenario.situation(case) for case in (None, *scenario.cases)] + [step for name in scenario.axes for step in scenario.steps(name)]
    named = {str(one[key]) for one in situations for key in ("model", "system", "draft_model") if key in one}
    paths = {name: Path(context.beside(name)) for name in sorted(named)}
    return {name: hash_of(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


class _Prepared:
    """The chunk functions that this process has made, by identity: names are looked up once, not for every chunk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Chunks] = {}

    def of(self, job: Job) -> Chunks:
        """The chunk function of a job; InputError where this machine's catalogue or version is not that of the job."""
        with self._lock:
            key = f"{job.identity.sha256} {job.folder} {job.roots}"
            if key not in self._kept:
                self._kept.clear()
                self._kept[key] = _made(job)
            return self._kept[key]


def _made(job: Job) -> Chunks:
    catalog = Library()
    catalog.roots = tuple(shipped_root() if root == _SHIPPED else Path(root) for root in job.roots)
    context = Context(job.scenario, catalog, Path(job.folder))
    job.identity.check_same(vars(identity_of(context, job.study)), "a worker")
    return Chunks(Sweep(context, job.scenario.studies[job.study]))  # type: ignore[arg-type]


_prepared = _Prepared()


def run_chunk(job: Job, number: int) -> bytes:
    """Compute a chunk, write its rows and its record where results go, the record last; the record. What is written is whole, or not there."""
    record, rows = _prepared.of(job).compute(number)
    content = record.to_bytes()
    if job.output is not None:
        folder = folder_at(job.output)
        if rows is not None:
            write_part(folder, f"{job.study}/{part_name(number)}", rows, _prepared.of(job).sweep.sorted_keys)
        write_arrays(folder, f"{job.study}/{RECORDS}/{number:06d}.npz", content)
    return content


class Stop:
    """Whether an interruption was asked for (Ctrl-C): chunks that run are finished, none is begun. A second one stops at once."""

    def __init__(self) -> None:
        self.is_asked = False

    def ask(self, _signal: int, _frame: object) -> None:
        """A signal's handler."""
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


@contextlib.contextmanager
def interruptible() -> Iterator[Stop]:
    """Ctrl-C as a wish to stop, in the main thread; elsewhere it is none of ours."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def records(executor: Executor, job: Job, numbers: Iterable[int], stop: Stop) -> Iterator[bytes]:
    """The records of some chunks, in the order in which they are done."""
    carry_out = _on_dask if executor.kind == "dask" else _in_threads
    yield from carry_out(executor, job, iter(numbers), stop)


def _in_threads(_executor: Executor, job: Job, numbers: Iterator[int], stop: Stop) -> Iterator[bytes]:
    count = os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        waiting: set[Future[bytes]] = {pool.submit(run_chunk, job, number) for number in itertools.islice(numbers, _PLACES * count)}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                if stop.is_asked:
                    waiting = {one for one in waiting if not one.cancel()}
                else:
                    waiting |= {pool.submit(run_chunk, job, number) for number in itertools.islice(numbers, len(done))}
                for one in done:
                    yield one.result()
        finally:
            for one in waiting:
                one.cancel()


def _on_dask(executor: Executor, job: Job, numbers: Iterator[int], stop: Stop) -> Iterator[bytes]:
    try:
        from distributed import as_completed
    except ImportError:
        raise InputError("needs dask: pip install 'accelmodel[dask]'", key="executor", value="dask") from None
    with _client(executor.scheduler) as client:
        workers = sum(client.nthreads().values())
        if not workers:
            raise InputError("the scheduler has no workers", key="scheduler", value=executor.scheduler)

        def submit(count: int) -> list[Any]:
            return [client.submit(run_chunk, job, number, pure=False) for number in itertools.islice(numbers, count)]

        waiting = as_completed(submit(_PLACES * workers))
        for done in waiting:
            if done.cancelled():
                continue
            content: bytes = done.result()
            done.release()
            if not stop.is_asked:
                for one in submit(1):
                    waiting.add(one)
            yield content


@contextlib.contextmanager
def _deaf_to_interruptions() -> Iterator[None]:
    """Processes that are begun meanwhile do not hear Ctrl-C, which a terminal sends to all: they end their chunks, and this process ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _client(address: str | None) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster of worker processes on this machine, a core each."""
    from distributed import Client, LocalCluster

    if address is None:
        with _deaf_to_interruptions():
            cluster = LocalCluster(n_workers=os.cpu_count() or 1, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"no scheduler answers there: {error}", key="scheduler", value=address) from None
    with client:
        yield client
