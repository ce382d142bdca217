"""Results on this machine's disk: under the server's own names, whole, and never over another's."""

from __future__ import annotations

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
from .images import check_received, inspect_result

INCOMING = ".incoming"
"""Where files grow below the root on systems that know no files without a name. Hidden."""

_MAX_NUMBER = 10_000
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored file; ``relative`` is its path below the root with forward slashes."""

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
    """Write ``chunks`` to a new file ``root/subfolder/filename`` that no other file suffers from.

    A file of that name and content is used as it is; beside one of other content the new file
    is called ``name_1.png`` and so on, also when several processes store at the same moment.
    ``length``: bytes that must arrive. ``memory``: what decoding may take. ``checked``: the content
    has to be what the name says. Raises MediaError for what is not so, when a picture does not
    decode, when the disk does not take it, or when a link would lead out of ``root``; errors of
    ``chunks`` pass through.
    """
    name = safe_name(filename)
    with ExitStack() as stack:
        with _on_disk(name, root):
            folder, real_root = _folder(root, safe_subfolder(subfolder))
            new = stack.enter_context(atomic_file(folder, real_root / INCOMING))
        size, digest = _fill(new.file, chunks, name, root)
        if length is not None and size != length:
            raise MediaError(
                f"{name} was cut off: {size} of {length} bytes arrived.", "Fetch it again."
            )
        if checked:
            check_received(new.file, name)
        kind = inspect_result(new.file, name, memory)
        with _on_disk(name, root):
            path = _publish(new, folder, name, size, digest)
    relative = path.relative_to(real_root).as_posix()
    return StoredFile(root / relative, relative, size, digest, kind)


def found(path: Path, root: Path, memory: ImageMemory | None = None) -> StoredFile:
    """The same of a file that lies below ``root`` already, checked. Raises MediaError."""
    try:
        with path.open("rb") as file:
            digest = _digest(file)
            size = file.tell()
            check_received(file, path.name)
            kind = inspect_result(file, path.name, memory)
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}.") from error
    return StoredFile(path, path.relative_to(root).as_posix(), size, digest, kind)


@contextmanager
def _on_disk(name: str, root: Path) -> Iterator[None]:
    """What the file system says, in words."""
    try:
        yield
    except OSError as error:
        raise MediaError(
            f"{name} cannot be stored in {root}: {error.strerror or type(error).__name__}.",
            "Check the folder's rights and the free space, or set COMFYUI_OUTPUT_DIR to another.",
        ) from error


def _folder(root: Path, subfolder: str) -> tuple[Path, Path]:
    """The target folder and the root, links resolved; both exist afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    real_root = root.resolve()
    try:
        folder = (real_root / subfolder).resolve()
    except RuntimeError as error:  # a loop of links, before Python 3.13
        raise MediaError(f"The folder {subfolder} is a loop of links.") from error
    if not folder.is_relative_to(real_root):
        raise MediaError(
            f"The folder {subfolder} leads out of {root} through a link.", "Remove that link."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder, real_root


def _fill(file: BinaryIO, chunks: Iterable[bytes], name: str, root: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        with _on_disk(name, root):
            file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    with _on_disk(name, root):
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
    raise MediaError(f"{folder} holds too many files called {name}.", "Tidy the folder up.")


def _numbered(name: str, number: int) -> str:
    if not number:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem}_{number}{dot}{extension}" if stem else f"{name}_{number}"


def _same_file(path: Path, size: int, digest: str) -> bool:
    try:
        seen = path.lstat()
        if not stat.S_ISREG(seen.st_mode) or seen.st_size != size:
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
