"""The explorer's server. It keeps nothing of a visitor: the scenario travels with every question, so that any number of people may look at once."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request

from accelmodel.app import controls, document, page
from accelmodel.app.controls import BASE, EVERY, Options
from accelmodel.app.jobs import Jobs
from accelmodel.app.live import CLOSER, FIGURES, Live
from accelmodel.catalog.figures import read_toml
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError

FIRST = "explorer"  # the shipped scenario that the page opens with
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_THREADS = 8
_SCRIPTS = {"explorer.js": "text/javascript", "explorer.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
Asked = Mapping[str, Any]


class Explorer:
    """What the page asks for. Questions and answers are JSON; an answer has the scenario's text, its address, and parts of the page as HTML."""

    def __init__(self, folders: tuple[Path, ...] = (), opened: str | None = None) -> None:
        library = Library(*folders)
        self._shipped = library.files("scenarios")
        self.jobs = Jobs(folders)
        self._live = Live(library)
        self._options = Options(Library(*folders))  # of its own: a run notes what it reads from its catalogue
        self._first = opened if opened is not None else self._example(FIRST)

    def _example(self, name: str) -> str:
        if name not in self._shipped:
            raise InputError(f"no scenario is called '{name}'", key="example", value=name, allowed=self._shipped)
        return self._shipped[name].read_text(encoding="utf-8")

    def close(self) -> None:
        """End what is under way, and leave nothing behind."""
        self.jobs.close()
        self._live.close()

    def page(self) -> str:
        """The page, with the scenarios to open."""
        return page.page({name: _title(path) for name, path in sorted(self._shipped.items())})

    def open(self, asked: Asked) -> dict[str, Any]:
        """A scenario by its address (`link`), an `example`, its `text`, or the `text` with an alternative more (`add`), fewer (`remove`) or by another name."""
        text = self._opened(asked)
        read = document.parsed(text)
        try:
            parts = {"panels": page.panels(read, self._options), "cards": page.cards(read, self._options)}
        except (TypeError, AttributeError, ValueError, OverflowError) as error:  # no value that a control could show
            raise InputError(self._live.refused(text) or f"cannot be shown: {error}") from None
        return parts | self.answer({"text": text})

    def _opened(self, asked: Asked) -> str:
        if asked.get("link"):
            return document.unpacked(asked["link"])
        if asked.get("example"):
            return self._example(asked["example"])
        text: str = asked.get("text") or self._first
        known = document.cases(document.parsed(text))
        if asked.get("add"):
            return document.added(text)
        if asked.get("remove") in known:
            return document.without(text, asked["remove"])
        if asked.get("rename") in known:
            return document.renamed(text, asked["rename"], str(asked["name"]).strip().casefold().replace(" ", "-"))
        return text

    def answer(self, asked: Asked) -> dict[str, Any]:
        """The scenario's `text` with what was `moved` (of -> control -> value), and its numbers; choices that depend on what was moved."""
        text, moved = asked["text"], asked.get("moved", {})
        read = document.parsed(text)
        changed: dict[document.Path, Any] = {}
        for of, values in moved.items():
            changed |= controls.changes(values, read, _case(of, read), self._options)
        text = document.edited(text, changed) if changed else text
        read = document.parsed(text)
        found = {"text": text, "link": document.packed(text), "title": str(read.get("title", "accelmodel")), "set": self._set(moved, read)}
        refused = self._live.refused(text)
        try:
            view = self._live.view(text)
        except InputError as error:
            return found | {"message": _unanswered(refused or str(error), read)}
        return found | {
            "message": f"A run or a report of this file is refused: {refused}" if refused else "",
            "names": view.names,
            "headlines": [page.headline(name, view) for name in view.names],
            "answer": page.answer(view),
            "table": page.table(view),
            "others": f"Also in the file, not shown: {', '.join(view.others)}." if view.others else "",
            "figures": page.drawn(view.charts, FIGURES),
        }

    def _set(self, moved: Mapping[str, Mapping[str, Any]], read: Mapping[str, Any]) -> dict[str, Any]:
        """What other controls show now, by their id: offers of a system or model that was just picked, and the two sides of a load."""
        found: dict[str, Any] = {}
        for of, values in moved.items():
            for key in [offers for picked, offers in (("system", controls.HOUR), ("model", controls.TOKEN)) if picked in values]:
                parts = (of, *(map(str, range(len(document.cases(read)[: document.ALTERNATIVES]))) if of == BASE else ()))
                found |= {page.element(part, key): page.choices(EVERY[key], read, _case(part, read), self._options) for part in parts}
            if {controls.LOAD_KIND, controls.LOAD_AMOUNT, "ttft_s", "tpot_s"} & values.keys() and of == BASE:
                kind, amount = EVERY[controls.LOAD_KIND], EVERY[controls.LOAD_AMOUNT]
                found[page.element(of, kind.key)] = page.choices(kind, read, None, self._options)
                found[page.element(of, amount.key)] = controls.value_of(amount, read, None, self._options)
        return found

    def closer(self, asked: Asked) -> dict[str, Any]:
        """A closer look at one `case`, or at the base where there are no cases."""
        known = document.cases(document.parsed(asked["text"]))
        found = self._live.closer(asked["text"], asked.get("case") if asked.get("case") in known else None)
        return {"missing": " ".join(found.missing), "figures": page.drawn(found.charts, CLOSER)}

    def report(self, asked: Asked) -> dict[str, Any]:
        """Begin a report of the scenario, all of its studies included; its `ending` is that of the file."""
        if asked["ending"] not in page.REPORTS:
            raise InputError("is no report", key="ending", value=asked["ending"], allowed=page.REPORTS)
        document.parsed(asked["text"])
        return {"job": self.jobs.start(asked["text"], file_name(asked["text"]), asked["ending"])}

    def look(self, asked: Asked) -> dict[str, Any]:
        """How a report stands."""
        job = self.jobs.look(asked["job"])
        if job is None:
            raise InputError("is not being made any more", key="report")
        return {"doing": job.doing, "is_done": job.is_done}

    def stop(self, asked: Asked) -> dict[str, Any]:
        """End a report that is being made."""
        self.jobs.stop(asked["job"])
        return {}


def _unanswered(error: str, read: Mapping[str, Any]) -> str:
    """Why the page has no numbers, and where the file's own are."""
    studies = ", ".join(read.get("studies", {}))
    own = f" The page shows replicas under a load; what the file asks for ({studies}) is in its reports." if studies else ""
    return f"No numbers here: {error}.{own}"


def _title(path: Path) -> str:
    try:
        return str(read_toml(path).get("title", path.stem))
    except InputError:
        return "cannot be read"


def _case(of: str, read: Mapping[str, Any]) -> str | None:
    return None if of == BASE else document.cases(read)[int(of)]


def file_name(text: str) -> str:
    """A name for a scenario's files, from its title."""
    words = re.findall(r"[a-z0-9]+", str(document.parsed(text).get("title", "")).casefold())
    return "-".join(words)[:60].strip("-") or "scenario"


def build(explorer: Explorer, *, is_local: bool = True) -> Flask:
    """The application; where `is_local`, it answers only who asks for this machine by a name of its own, so that no other page can pose as this one."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 4 * document.LONGEST

    @app.before_request
    def _refuse_strangers() -> None:
        name = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
        if is_local and name.strip("[]") not in LOOPBACK:
            abort(403)

    @app.after_request
    def _closed(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.get("/")
    def _page() -> str:
        return explorer.page()

    @app.get("/plotly.js")
    def _plotly() -> Response:
        content = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
        return Response(content, content_type="text/javascript; charset=utf-8", headers={"Cache-Control": "max-age=86400"})

    @app.get("/<name>")
    def _asset(name: str) -> Response:
        if name not in _SCRIPTS:
            abort(404)
        return Response((Path(__file__).parent / "assets" / name).read_bytes(), content_type=f"{_SCRIPTS[name]}; charset=utf-8")

    @app.post("/<any(open, answer, closer, report, look, stop):verb>")
    def _asked(verb: str) -> tuple[Response, int]:
        found, status = _answered(getattr(explorer, verb), request.get_json())
        return jsonify(found), status

    @app.get("/report/<job>")
    def _file(job: str) -> Response:
        found = explorer.jobs.take(job)
        if found is None:
            abort(404)
        name, content = found
        return Response(content, content_type="application/octet-stream", headers={"Content-Disposition": f'attachment; filename="{name}"'})

    return app


def _answered(verb: Callable[[Asked], dict[str, Any]], asked: Asked) -> tuple[dict[str, Any], int]:
    """What a verb answers, with the status that says whether it could."""
    try:
        return verb(asked), 200
    except InputError as error:
        return {"message": str(error)}, 422
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        return {"message": f"a question that the page does not ask: {type(error).__name__}: {error}"}, 400


def serve(folders: tuple[Path, ...], scenario: str | None, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve until interrupted, beginning with a scenario; `tell` is told the address. InputError for a scenario that is not, or an address that is taken."""
    import waitress

    opened = None if scenario is None else Library(*folders).path("scenarios", scenario).read_text(encoding="utf-8")
    if opened is not None:
        document.parsed(opened)
    with contextlib.closing(Explorer(folders, opened)) as explorer:
        try:
            server = waitress.create_server(build(explorer, is_local=host in LOOPBACK), host=host, port=port, threads=_THREADS, ident=None)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}", key="--port", value=port) from None
        tell(f"http://{f'[{host}]' if ':' in host else host}:{server.effective_port}")
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, lambda *_: sys.exit())  # so that nothing under way is left behind
        with contextlib.closing(server):
            server.run()
