"""Results on disk or in any fsspec filesystem: written under a temporary name and renamed, so that nothing half-written is ever found."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from accelmodel.errors import InputError

_LOCAL = "file://"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_folder(folder: Path) -> None:
    """Create an output folder and see that it takes files; InputError otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot be written to: {error.strerror}", file=folder, key="--output") from None


class DiskFullError(InputError):
    """No room for a file: what was written before is whole and stays."""


def write(path: Path, writer: Callable[[Path], object]) -> Path:
    """Let `writer` write a temporary file beside `path`, then rename it to `path`; DiskFullError where there is no room."""
    with _room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            writer(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


@contextlib.contextmanager
def _room(where: object) -> Iterator[None]:
    """Tell a full disk, a quota or a limit of file sizes in one message."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(f"no room for it: {os.strerror(error.errno)}; nothing half-written was left", file=where, key="--output") from None


def json_bytes(document: Any) -> bytes:
    """A JSON document as it is written."""
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def write_parquet(path: Path, table: Any) -> Path:
    """Write an Arrow table as Parquet (zstd)."""
    import pyarrow.parquet as pq

    return write(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


class Folder(Protocol):
    """A folder of results, on disk or behind a URL; names are relative to it, with `/`."""

    url: str

    def write(self, name: str, writer: Callable[[Any], object]) -> Path | str:
        """Let `writer` write a path or a binary file, under a temporary name until it is whole; where it lies then."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""

    def names(self, under: str = "") -> list[str]:
        """Names of the files right in a folder below this one, temporary ones left out, sorted."""

    def clean(self, under: str = "") -> None:
        """Take away temporary files that a killed run left in a folder below this one."""

    def alone(self, under: str) -> contextlib.AbstractContextManager[None]:
        """Keep other runs of this machine from a folder below this one meanwhile, where its filesystem has locks; InputError where one is there."""


def _lock(fcntl: Any, handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError("another run is writing there; wait for its end, or give another --output", file=folder, key="--output") from None
    except OSError:  # a filesystem without locks
        return


def is_url(folder: object) -> bool:
    """Whether results go to a filesystem of fsspec's: `s3://bucket/key`, `memory://name`."""
    return isinstance(folder, str) and "://" in folder and not folder.startswith(_LOCAL)


def folder_at(where: Path | str) -> Folder:
    """The folder at a path or a URL, made where it is not there yet; InputError where it takes no files."""
    if is_url(where):
        return _remote(str(where))
    path = Path(str(where).removeprefix(_LOCAL))
    check_folder(path)
    return _LocalFolder(path)


class _LocalFolder:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)

    def write(self, name: str, writer: Callable[[Any], object]) -> Path | str:
        return write(self.path / name, writer)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, under: str = "") -> list[str]:
        folder = self.path / under
        return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")) if folder.is_dir() else []

    @contextlib.contextmanager
    def alone(self, under: str) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # a system without such locks
            yield
            return
        folder = self.path / under
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            _lock(fcntl, handle, folder)
            yield
        finally:
            os.close(handle)  # which unlocks it, as the end of a killed process does

    def clean(self, under: str = "") -> None:
        for path in (self.path / under).glob(".*"):
            if path.is_file():
                path.unlink(missing_ok=True)


def _remote(url: str) -> Folder:
    try:
        import fsspec
    except ImportError:
        raise InputError("results behind a URL need fsspec: pip install 'accelmodel[dask]'", key="--output", value=url) from None
    try:
        files, root = fsspec.core.url_to_fs(url)
        files.makedirs(root, exist_ok=True)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"cannot be written to: {error}", file=url, key="--output") from None
    return _RemoteFolder(files, root, url)


class _RemoteFolder:
    """A folder of an fsspec filesystem."""

    def __init__(self, files: Any, root: str, url: str) -> None:
        self.files, self.root, self.url = files, root.rstrip("/"), url

    def write(self, name: str, writer: Callable[[Any], object]) -> Path | str:
        path = f"{self.root}/{name}"
        folder, _, last = path.rpartition("/")
        temporary = f"{folder}/.{last}.{uuid4().hex}"
        with _room(f"{self.url}/{name}"):
            self.files.makedirs(folder, exist_ok=True)
            try:
                with self.files.open(temporary, "wb") as file:
                    writer(file)
                self.files.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    self.files.rm(temporary)
                raise
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes | None:
        try:
            content: bytes = self.files.cat_file(f"{self.root}/{name}")
        except FileNotFoundError:
            return None
        return content

    def alone(self, _under: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def names(self, under: str = "") -> list[str]:
        return sorted(name for name in self._files(under) if not name.startswith("."))

    def _files(self, under: str) -> list[str]:
        try:
            found = self.files.ls(f"{self.root}/{under}".rstrip("/"), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return [one["name"].rpartition("/")[2] for one in found if one["type"] == "file"]

    def clean(self, under: str = "") -> None:
        for name in self._files(under):
            if name.startswith("."):
                self.files.rm(f"{self.root}/{under}/{name}" if under else f"{self.root}/{name}")


def bytes_writer(content: bytes) -> Callable[[Any], object]:
    """A writer of bytes, to a path or a binary file."""
    return lambda target: target.write_bytes(content) if isinstance(target, Path) else target.write(content)


def parquet_writer(table: Any, **options: Any) -> Callable[[Any], object]:
    """A writer of an Arrow table as Parquet (zstd), to a path or a binary file."""
    import pyarrow.parquet as pq

    return lambda target: pq.write_table(table, target, compression="zstd", **options)
