"""The nodes that this server computes, by class name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from embedded_comfyui.nodes import image, load, mask, save
from embedded_comfyui.nodes.base import Compute, Folders, Node, NodeContext, NodeResult, Plain

__all__ = ["NODES", "Folders", "Node", "NodeContext", "NodeResult"]

_SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text("utf-8"))
_COMPUTE: Mapping[str, Compute] = {**image.COMPUTE, **mask.COMPUTE, **save.COMPUTE}

NODES: Mapping[str, Node] = MappingProxyType(
    {
        **{name: Plain(_SCHEMAS[name], compute) for name, compute in _COMPUTE.items()},
        **{name: load.FromFile(_SCHEMAS[name], read) for name, read in load.READERS.items()},
    }
)
