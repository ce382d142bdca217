"""A job that can be queued, and what its answer says about its preparation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.delivery import Delivery
from comfyui_pipeline.engine.protocol import Job
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.changes import Change
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job, and what the response says about its preparation.

    ``skipped_outputs``: label of an output node that cannot run -> why. ``important``: sentences for
    the first lines of the response: keys without effect, a model that stands in for another.
    ``notes``: what was corrected. ``changed``: ``changes`` in words; ``seed_origin``, ``batch``: see
    ``change_texts``. ``earlier``: an earlier call queued it; ``named``: its workflow's name is known.
    ``known_seeds``: the seeds where the graph has no types to find them by. ``delivery``: how its
    results are given.
    """

    name: str
    job: Job
    graph: Graph
    changes: tuple[Change, ...] = ()
    guesses: tuple[str, ...] = ()
    skipped_outputs: Mapping[str, str] = field(default_factory=dict)
    important: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    seed_origin: str = ""
    batch: int = 1
    earlier: bool = False
    named: bool = True
    known_seeds: Mapping[str, Any] = field(default_factory=dict)
    delivery: Delivery = Delivery()

    @property
    def seeds(self) -> dict[str, Any]:
        """Node id -> seed, of the nodes that will run."""
        if self.known_seeds:
            return dict(self.known_seeds)
        seeds = {t.node.id: t.node.inputs[t.name] for t in roles.seeds(self.graph)}
        return {node_id: seed for node_id, seed in seeds.items() if node_id in self.job.prompt}
