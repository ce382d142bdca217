"""The interface between the server and its nodes.

Images are float32 arrays ``[batch, height, width, channel]`` in 0..1, masks ``[batch, height,
width]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Folders:
    """The server's folders."""

    input: Path
    output: Path
    temp: Path

    def annotated(self, value: str) -> Path:
        """``sub/a.png`` in the input folder, ``a.png [output]`` in another (folder_paths.py).

        Raises ValueError if the path leads out of the folder.
        """
        folder, name = self.input, value
        for suffix, other in (("output", self.output), ("input", self.input), ("temp", self.temp)):
            if value.endswith(f"[{suffix}]"):
                folder, name = other, value[: -len(suffix) - 3]
        path = folder / name
        if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"outside the {folder.name} folder: {value}")
        return path


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a node can use in addition to its inputs."""

    folders: Folders
    node_id: str
    prompt: Mapping[str, Any]
    extra_pnginfo: Mapping[str, Any] | None
    check_interrupted: Callable[[], None]


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The outputs of a node by slot, and what clients receive of them (``ui``)."""

    outputs: tuple[Any, ...] = ()
    ui: Mapping[str, list[Any]] | None = None


class Node(Protocol):
    """A node type."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its entry in ``/object_info``, without live lists of files."""
        ...

    def object_info(self, folders: Folders) -> dict[str, Any]:
        """Its entry in ``/object_info``."""
        ...

    def validate(self, inputs: Mapping[str, Any], folders: Folders) -> str | None:
        """Check plain inputs beyond their types. Returns the error, None if they are valid."""
        ...

    def fingerprint(self, inputs: Mapping[str, Any], folders: Folders) -> str | None:
        """A hash of the file that the inputs name; None if they name none."""
        ...

    def run(self, inputs: Mapping[str, Any], context: NodeContext) -> NodeResult:
        """Compute the outputs. Any exception becomes the error of the job."""
        ...


Compute = Callable[[Mapping[str, Any], NodeContext], NodeResult]


@dataclass(frozen=True, slots=True)
class Plain:
    """A node that depends only on its inputs."""

    schema: Mapping[str, Any]
    compute: Compute

    def object_info(self, folders: Folders) -> dict[str, Any]:
        return dict(self.schema)

    def validate(self, inputs: Mapping[str, Any], folders: Folders) -> str | None:
        return None

    def fingerprint(self, inputs: Mapping[str, Any], folders: Folders) -> str | None:
        return None

    def run(self, inputs: Mapping[str, Any], context: NodeContext) -> NodeResult:
        return self.compute(inputs, context)
