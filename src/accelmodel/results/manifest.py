"""The manifest of results that come in parts: of which inputs they are, and whether they are whole. Parts of different inputs are never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelmodel.errors import InputError
from accelmodel.results.store import Folder, bytes_writer, json_bytes

NAME = "_manifest.json"
SCHEMA = "accelmodel.sweep/1"


@dataclass(frozen=True)
class Identity:
    """What results depend on, by content: each a hash or a version."""

    scenario: str
    catalogue: str
    version: str
    engine: str

    @property
    def sha256(self) -> str:
        """One hash of all."""
        return hash_of(vars(self))

    def check_same(self, found: Mapping[str, Any], where: str) -> None:
        """InputError that names what differs from an identity that was written before."""
        names = {"scenario": "scenario", "catalogue": "catalogue", "version": "version of accelmodel", "engine": "engine's source or Numba"}
        differing = [words for key, words in names.items() if found.get(key) != getattr(self, key)]
        if differing:
            message = f"holds results of other inputs (another {', another '.join(differing)}): nothing was mixed; give another --output, or remove it"
            raise InputError(message, file=where, key="--output")


def hash_of(document: Any) -> str:
    """SHA-256 of a JSON document, keys in order."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def open_manifest(folder: Folder, under: str, identity: Identity, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in a folder: a new one of this identity, or the one that is there; InputError where that is of another."""
    name = f"{under}/{NAME}"
    content = folder.read(name)
    if content is None:
        if strangers := folder.names(under):
            raise InputError(f"holds '{strangers[0]}' and no manifest: it is no sweep's; give another --output", file=f"{folder.url}/{under}", key="--output")
        manifest = {"schema": SCHEMA, "sha256": identity.sha256, **vars(identity), **plan, "status": "partial", "chunks_done": 0}
        folder.write(name, bytes_writer(json_bytes(manifest)))
        return manifest
    try:
        manifest = json.loads(content)
        known = manifest.get("schema") == SCHEMA
    except (ValueError, AttributeError):
        known = False
    if not known:
        raise InputError("is no manifest of a sweep that this version reads; give another --output", file=f"{folder.url}/{name}", key="schema")
    identity.check_same(manifest, f"{folder.url}/{under}")
    return dict(manifest)


def close_manifest(folder: Folder, under: str, manifest: Mapping[str, Any], done: int, found: Mapping[str, Any]) -> None:
    """Write how far the sweep came, and what it counted."""
    status = "complete" if done == manifest["chunks"] else "partial"
    folder.write(f"{under}/{NAME}", bytes_writer(json_bytes({**manifest, **found, "status": status, "chunks_done": done})))
