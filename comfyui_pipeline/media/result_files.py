"""Store results on this machine under the server's file names. No file is ever overwritten."""

from __future__ import annotations

import errno
import hashlib
import itertools
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from input_server.atomic import PendingFile, atomic_file
from input_server.light_dataclasses import dataclass

from ..errors import MediaError
from .file_names import safe_name, safe_subfolder
from .file_types import Kind
from .image_memory import ImageMemory
from .result_check import check_received, inspect_result

INCOMING = ".incoming"
"""Hidden folder for temp files, on systems that have no files without a name."""

_MAX_NUMBER = 10_000
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored file; ``relative`` is its path in the output folder with forward slashes."""

    path: Path
    relative: str
    size: int
    sha256: str
    kind: Kind


def store(
    chunks: Iterable[bytes],
    root: Path,
    subfolder: str,
    filename: str,
    *,
    length: int | None = None,
    memory: ImageMemory | None = None,
    checked: bool = False,
) -> StoredFile:
    """Write ``chunks`` atomically to a new file ``root/subfolder/filename``.

    An existing file of that name is kept: with the same content it is the result, otherwise the new
    file is called ``name_1.png`` and so on, also when several processes store at the same time.
    ``length``: bytes that must arrive. ``memory``: the memory for decoding. ``checked``: the content
    must be what the name says. Raises MediaError for a cut-off or broken file, on disk errors, and
    for a folder that a symlink leads out of ``root``; exceptions of ``chunks`` are passed on.
    """
    name = safe_name(filename)
    with _full_disk(name, root), ExitStack() as stack:
        with _disk_errors(name, root):
            folder, real_root = _folder(root, safe_subfolder(subfolder))
            new = stack.enter_context(atomic_file(folder, _temp_dir(folder, real_root)))
        size, digest = _write(new.file, chunks, name, root)
        if length is not None and size != length:
            raise MediaError(
                f"{name} was cut off: {size} of {length} bytes arrived.", "Fetch it again."
            )
        if checked:
            check_received(new.file, name)
        kind = inspect_result(new.file, name, memory)
        with _disk_errors(name, root):
            path = _publish(new, folder, name, size, digest)
    relative = path.relative_to(real_root).as_posix()
    return StoredFile(root / relative, relative, size, digest, kind)


def use_existing(path: Path, root: Path, memory: ImageMemory | None = None) -> StoredFile:
    """Check a file that is in ``root`` already and return it. Raises MediaError."""
    try:
        with path.open("rb") as file:
            digest = _digest(file)
            size = file.tell()
            check_received(file, path.name)
            kind = inspect_result(file, path.name, memory)
    except OSError as error:
        raise MediaError(
            f"{path.name} cannot be read: {error.strerror}.", "Check the permissions of the file."
        ) from error
    return StoredFile(path, path.relative_to(root).as_posix(), size, digest, kind)


@contextmanager
def _disk_errors(name: str, root: Path) -> Iterator[None]:
    """Turn OSError into MediaError."""
    try:
        yield
    except OSError as error:
        raise MediaError(
            f"{name} cannot be stored in {root}: {error.strerror or type(error).__name__}.",
            "Check the permissions and the free space, or set COMFYUI_OUTPUT_DIR to another folder.",
        ) from error


@contextmanager
def _full_disk(name: str, root: Path) -> Iterator[None]:
    """The same for a full disk only: closing a file that could not be written fails once more."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            raise
        with _disk_errors(name, root):
            raise


def _folder(root: Path, subfolder: str) -> tuple[Path, Path]:
    """Create the target folder; return it and the root, both with symlinks resolved."""
    root.mkdir(parents=True, exist_ok=True)
    real_root = root.resolve()
    try:
        folder = (real_root / subfolder).resolve()
    except RuntimeError as error:  # before Python 3.13
        raise MediaError(
            f"The folder {subfolder} is a loop of symlinks.", "Remove those symlinks."
        ) from error
    if not folder.is_relative_to(real_root):
        raise MediaError(
            f"The folder {subfolder} leads out of {root} through a symlink.", "Remove that symlink."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder, real_root


def _temp_dir(folder: Path, real_root: Path) -> Path:
    """Where temp files for ``folder`` go; a volume mounted inside the root has its own."""
    same = folder.stat().st_dev == real_root.stat().st_dev
    return (real_root if same else folder) / INCOMING


def _write(file: BinaryIO, chunks: Iterable[bytes], name: str, root: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        with _disk_errors(name, root):
            file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    with _disk_errors(name, root):
        file.flush()
    return size, digest.hexdigest()


def _publish(new: PendingFile, folder: Path, name: str, size: int, digest: str) -> Path:
    for number in itertools.count():
        target = folder / _numbered(name, number)
        if new.publish_new(target):
            return target
        if _same_file(target, size, digest):
            return target
        if number >= _MAX_NUMBER:
            break
    raise MediaError(
        f"{folder} contains more than {_MAX_NUMBER} files called {name}.", "Remove some of them."
    )


def _numbered(name: str, number: int) -> str:
    if not number:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem}_{number}{dot}{extension}" if stem else f"{name}_{number}"


def _same_file(path: Path, size: int, digest: str) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        with path.open("rb") as file:
            return _digest(file) == digest
    except OSError:
        return False


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
