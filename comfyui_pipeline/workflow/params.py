"""The entries of ``params``: which nodes and which inputs they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from comfyui_pipeline.arguments import BY_NAME, SHORTCUTS
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import matching, roles
from comfyui_pipeline.workflow.changes import Origin, Planner
from comfyui_pipeline.workflow.graph import Graph, Node, Target
from input_server.light_dataclasses import dataclass, field

if TYPE_CHECKING:
    from comfyui_pipeline.call import Param

MAX_LISTED = 30
MAX_SHOWN = 80
"""Characters of a wrong name that an error repeats."""
MAX_COMPARED = 1_000_000
"""Names that are compared for those of the call that match none exactly."""
ROLE_WORDS = {word: argument.name for argument in SHORTCUTS for word in argument.node_words}


def apply_params(planner: Planner, params: Sequence[Param], *, all_titled: bool) -> None:
    """Set every input that ``params`` names. Raises PatchError for a node or input that is not there.

    ``all_titled``: each entry changes all nodes of its title.
    """
    search = _Search(planner)
    for param in params:
        for node in search.nodes(param, every=all_titled or param.all):
            for name, value in param.inputs.items():
                planner.set(Target(node, search.input(node, name)), value, Origin.PARAMS)


@dataclass(slots=True)
class _Search:
    """Finds nodes by id or title and inputs by name; fuzzy matches are added to the planner's."""

    planner: Planner
    by_title: dict[str, list[Node]] = field(default_factory=dict)
    matched: dict[str, list[Node]] = field(default_factory=dict)  # title as written -> nodes
    compared: int = 0

    def nodes(self, param: Param, *, every: bool) -> list[Node]:
        """By id, by title, and unless strict by similar title, role or node type."""
        graph = self.planner.graph
        if param.node_id is not None:
            if param.node_id in graph.nodes:
                return [graph.nodes[param.node_id]]
            raise _unknown_node(f"There is no node {param.node_id[:MAX_SHOWN]!r}.", graph)
        title = param.node_title or ""
        found = self._titled(title)
        if not found and not self.planner.strict:
            if title not in self.matched:
                self.matched[title] = self._similar(title)
            found = self.matched[title]
        if not found:
            raise _unknown_node(f"There is no node titled {title[:MAX_SHOWN]!r}.", graph)
        if len(found) > 1 and not every:
            candidates = "; ".join(node.label for node in found[:MAX_LISTED])
            raise PatchError(
                f"{len(found)} nodes match {title[:MAX_SHOWN]!r}: {candidates}.",
                'Use node_id, or add "all": true to change them all.',
                code="ambiguous",
            )
        return found

    def _titled(self, title: str) -> list[Node]:
        if not self.by_title:
            for node in self.planner.graph.nodes.values():
                self.by_title.setdefault(node.title, []).append(node)
        return self.by_title.get(title, [])

    def _similar(self, title: str) -> list[Node]:
        """By title without case and width, then by role, node type, and the most similar title."""
        nodes = list(self.planner.graph.nodes.values())
        self._count(len(nodes))
        word = matching.normalize(title)
        same = [node for node in nodes if matching.normalize(node.title) == word]
        if same:
            return same
        found = _by_role(self.planner.graph, word)
        if not found:
            found = [node for node in nodes if matching.normalize(node.class_type) == word]
        if not found:
            names = [node.title or node.class_type for node in nodes]
            likely = set(matching.fuzzy_match(title, list(dict.fromkeys(names))).names)
            found = [node for node in nodes if (node.title or node.class_type) in likely]
        self.planner.guesses += [f"node {title[:MAX_SHOWN]!r} → {node.label}" for node in found]
        return found

    def input(self, node: Node, name: str) -> str:
        """The input that ``name`` means, by name, then by synonym or similarity unless strict."""
        if name in node.specs or name in node.inputs:
            return name
        known = [*node.specs, *(given for given in node.inputs if given not in node.specs)]
        self._count(len(known))
        found = matching.find_input(name, known, strict=self.planner.strict)
        if len(found.names) == 1:
            if found.fuzzy:
                self.planner.guesses.append(
                    f"input {name[:MAX_SHOWN]!r} → {found.names[0]!r} of node {node.label}"
                )
            return found.names[0]
        if found.names:
            names = " and ".join(found.names)
            raise PatchError(
                f"The input {name[:MAX_SHOWN]!r} of node {node.label} is ambiguous; it matches {names}.",
                "Use one of these names.",
                code="ambiguous",
            )
        raise PatchError(
            f"Node {node.label} has no input {name[:MAX_SHOWN]!r}.",
            f"It has: {_some(known)}." if known else "It has none.",
            code="unknown_input",
        )

    def _count(self, names: int) -> None:
        self.compared += names
        if self.compared > MAX_COMPARED:
            raise PatchError(
                "Too many node titles or input names of this call match no name of the workflow.",
                "Write them exactly; the command describe lists them.",
            )


def _by_role(graph: Graph, word: str) -> list[Node]:
    """The nodes of a role: ``positive``, ``negative prompt``, ``sampler``…"""
    name = ROLE_WORDS.get(word, word.replace(" ", "_"))
    if name == "sampler":
        return roles.samplers(graph)
    if name not in BY_NAME or not BY_NAME[name].is_shortcut:
        return []
    return list({t.node.id: t.node for t in roles.find_targets(graph, name)}.values())


def _unknown_node(what: str, graph: Graph) -> PatchError:
    labels = [node.label for node in graph.nodes.values()]
    more = f"; and {len(labels) - MAX_LISTED} more" if len(labels) > MAX_LISTED else ""
    hint = f"This workflow has: {'; '.join(labels[:MAX_LISTED])}{more}."
    return PatchError(what, hint, code="unknown_node")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(name[:MAX_SHOWN] for name in names[:MAX_LISTED]) + more
