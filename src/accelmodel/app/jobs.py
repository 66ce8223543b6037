"""Reports made beside the page: each in a process of its own, so that a long one keeps nobody waiting and can be stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from accelmodel.errors import InputError

AT_ONCE = 4
_LEFT_S = 60.0  # after which nobody asks for a job any more


@dataclass
class Job:
    """A report that is being made: what it does now, and at its end the file, or what is wrong."""

    process: BaseProcess
    pipe: Connection
    file: str
    asked_at: float
    doing: str = "starting"
    content: bytes | None = None
    wrong: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is a file."""
        return self.content is not None


class Jobs:
    """Reports under way, by a name that only who asked for one knows."""

    def __init__(self, folders: tuple[Path, ...] = ()) -> None:
        self._folders = folders
        self._running: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, text: str, name: str, ending: str) -> str:
        """Run a scenario, all of its studies, and make a report of it; the job's name. InputError where too many are under way."""
        with self._lock:
            for left in [key for key, job in self._running.items() if time.monotonic() - job.asked_at > _LEFT_S]:
                self._running[left].process.terminate()
                self._end(left)
            if len(self._running) >= AT_ONCE:
                raise InputError(f"{AT_ONCE} reports are being made: wait for one, or stop it", key="report")
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_make, args=(there, text, name, ending, self._folders), daemon=True)
            process.start()
            there.close()
            key = uuid.uuid4().hex
            self._running[key] = Job(process, here, f"{name}.{ending}", time.monotonic())
            return key

    def look(self, key: str) -> Job | None:
        """How a job stands, None for one that is not known; InputError for one that failed, which is then forgotten."""
        with self._lock:
            job = self._running.get(key)
            if job is None:
                return None
            job.asked_at = time.monotonic()
            _hear(job)
            if job.wrong is not None:
                self._end(key)
                raise InputError(job.wrong)
            return job

    def take(self, key: str) -> tuple[str, bytes] | None:
        """A report's file by name and content, once; None where there is none, or not yet."""
        with self._lock:
            job = self._running.get(key)
            if job is None or job.content is None:
                return None
            self._end(key)
            return job.file, job.content

    def stop(self, key: str) -> None:
        """End a job, whatever it does."""
        with self._lock:
            if key in self._running:
                self._running[key].process.terminate()
                self._end(key)

    def close(self) -> None:
        """End every job."""
        for key in list(self._running):
            self.stop(key)

    def _end(self, key: str) -> None:
        job = self._running.pop(key)
        job.process.join(5)
        job.pipe.close()


def _hear(job: Job) -> None:
    try:
        while job.pipe.poll():
            kind, said = job.pipe.recv()
            if kind == "doing":
                job.doing = said
            elif kind == "done":
                job.content = said
            else:
                job.wrong = said
    except EOFError:
        job.wrong = job.wrong or "the report's process ended before it was done"


def _make(pipe: Connection, text: str, name: str, ending: str, folders: tuple[Path, ...]) -> None:
    """What a job's process does; an interruption is the server's, which ends its jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which takes its folder away
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        pipe.send(("done", made(text, name, ending, folders, lambda message: pipe.send(("doing", message)))))
    except InputError as error:
        pipe.send(("wrong", str(error)))
    except Exception as error:
        pipe.send(("wrong", f"a fault of ours: {type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """Nobody is left to take the report where the server is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def made(text: str, name: str, ending: str, folders: tuple[Path, ...] = (), progress: Callable[[str], None] | None = None) -> bytes:
    """The report of a scenario as `accelmodel run` and `accelmodel report` make it."""
    from accelmodel.app.live import without_file
    from accelmodel.catalog.library import Library
    from accelmodel.reports.report import report
    from accelmodel.studies.run import run

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        try:
            found = run(path, catalog=Library(*folders), progress=progress, output=Path(folder) / "run")
            return report(found, Path(folder) / f"{name}.{ending}").read_bytes()
        except InputError as error:
            raise without_file(error, path) from None
