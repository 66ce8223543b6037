"""Files of results: whole or not there, on disk and behind URLs; parts and arrays of the same bytes for the same content; a manifest that mixes nothing."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelmodel.errors import InputError
from accelmodel.results.manifest import Identity, close_manifest, open_manifest
from accelmodel.results.parts import arrays_bytes, read_arrays
from accelmodel.results.store import DiskFullError, bytes_writer, folder_at

ONE = Identity("s", "c", "v", "e")


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "disk":
        return folder_at(tmp_path / "out")
    pytest.importorskip("fsspec")
    return folder_at(f"memory://{tmp_path.name}")


def test_a_file_is_there_once_it_is_whole(folder):
    assert folder.read("sub/file") is None
    assert folder.names("sub") == []
    folder.write("sub/file", bytes_writer(b"first"))
    folder.write("sub/file", bytes_writer(b"second"))
    assert folder.read("sub/file") == b"second"
    assert folder.names("sub") == ["file"]

    def half(target: Any) -> None:
        bytes_writer(b"ha")(target)
        raise RuntimeError("in the middle")

    for name in ("sub/file", "sub/other"):
        with pytest.raises(RuntimeError):
            folder.write(name, half)
    assert folder.names("sub") == ["file"]
    assert folder.read("sub/file") == b"second"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_one_error_that_names_the_file(folder, number):
    def full(_target: Any) -> None:
        raise OSError(number, "none")

    with pytest.raises(DiskFullError, match=r"sub/file: --output: no room for it: .*; nothing half-written was left"):
        folder.write("sub/file", full)
    assert folder.names("sub") == []


def test_another_fault_of_the_disk_is_not_called_a_full_one(folder):
    def broken(_target: Any) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        folder.write("file", broken)


def test_what_a_killed_run_left_is_cleaned_and_nothing_else(folder):
    folder.write("sub/.part.left", bytes_writer(b"x"))
    folder.write("sub/kept", bytes_writer(b"y"))
    folder.clean("sub")
    assert folder.read("sub/.part.left") is None
    assert folder.names("sub") == ["kept"]


def test_a_url_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be written to"):
        folder_at("nosuchprotocol://x")
    assert folder_at(f"file://{tmp_path}/here").url == f"{tmp_path}/here"


def test_arrays_come_back_and_the_same_content_is_the_same_bytes():
    document, arrays = {"b": [1, None], "a": 0.1}, {"x/0": np.arange(6.0).reshape(2, 3), "y": np.array([], np.int64)}
    content = arrays_bytes(document, arrays)
    assert content == arrays_bytes({"a": 0.1, "b": [1, None]}, {name: array.copy() for name, array in arrays.items()})
    found, back = read_arrays(content)
    assert found == document
    assert {name: (array.tolist(), array.dtype) for name, array in back.items()} == {name: (array.tolist(), array.dtype) for name, array in arrays.items()}


def test_a_manifest_is_opened_again_by_the_same_inputs_only(folder):
    made = open_manifest(folder, "grid", ONE, {"chunks": 3})
    assert made["status"] == "partial"
    assert open_manifest(folder, "grid", ONE, {"chunks": 3}) == made
    close_manifest(folder, "grid", made, 2, {})
    assert json.loads(folder.read("grid/_manifest.json"))["status"] == "partial"
    close_manifest(folder, "grid", made, 3, {"counts": {"ran": 5}})
    closed = json.loads(folder.read("grid/_manifest.json"))
    assert (closed["status"], closed["chunks_done"], closed["counts"]) == ("complete", 3, {"ran": 5})
    for key, words in {"scenario": "scenario", "catalogue": "catalogue", "version": "version of accelmodel", "engine": "engine's source"}.items():
        other = Identity(**{**vars(ONE), key: "other"})
        assert other.sha256 != ONE.sha256
        with pytest.raises(InputError, match=rf"holds results of other inputs \(another {words}.*\): nothing was mixed"):
            open_manifest(folder, "grid", other, {"chunks": 3})
