"""Where a text comes from: the input that holds what a person would type.

A text reaches an encoder through nodes that join, replace or rewrite texts. Of the texts that such a
node takes, the user's part is the one whose title or name says so, else one that is linked, else an
empty one. System prompts, templates, patterns and keys are never it.
"""

from __future__ import annotations

from comfyui_pipeline.workflow.branches import unused_inputs
from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, Node, Target, is_link
from comfyui_pipeline.workflow.text_words import words
from input_server.light_dataclasses import dataclass, field

OTHER_INPUTS = frozenset({
    "negative", "neg", "system", "instruction", "instructions", "context", "style", "extra", "mode",
    "key", "token", "delimiter", "separator", "find", "pattern", "regex", "url", "path", "model",
    "filename", "language", "prefix", "suffix", "template",
})  # fmt: skip
"""Words in the names of text inputs that are not what a person asks for."""
OTHER_TITLES = (
    "negative", "system", "instruction", "template", "trigger", "prefix", "suffix", "style", "quality",
    "lyrics", "系统", "反向", "负向", "负面", "模板", "触发", "前缀", "后缀", "风格", "质量", "歌词",
)  # fmt: skip
USER_TITLES = ("prompt", "user", "subject", "提示词", "用户", "主体", "描述")
FIRST_NAMES = ("value", "text", "prompt", "string", "string_a", "text_a", "text1", "a")
SEARCHED = ("find", "pattern", "search", "old")
MAX_STEPS = 200
"""Nodes followed from one text."""
MEDIA = ("IMAGE", "VIDEO", "AUDIO")


@dataclass(slots=True)
class TextSources:
    """Finds the sources of texts in one graph; what it has found is kept."""

    graph: Graph
    found: dict[tuple[str, str], Target | None] = field(default_factory=dict)

    def of(self, target: Target) -> Target | None:
        """The input that holds the user's text of ``target``; None if a model writes it, or if none of
        the texts that it is made of is certainly the user's.
        """
        return self._source(target, 0)

    def _source(self, target: Target, depth: int) -> Target | None:
        key = (target.node.id, target.name)
        if key not in self.found:
            self.found[key] = None  # a circular link has no source
            self.found[key] = self._follow(target, depth)
        return self.found[key]

    def _follow(self, target: Target, depth: int) -> Target | None:
        value = target.node.inputs.get(target.name)
        if not is_link(value):
            return target
        linked = self.graph.link(value)
        if linked is None or depth > MAX_STEPS:
            return None
        above = linked[0]
        names = _text_inputs(self.graph, above)
        options = [(name, self._source(Target(above, name), depth + 1)) for name in names]
        found = [(name, source) for name, source in options if source is not None]
        if len(names) == 1:
            return found[0][1] if found and not self._instructs(above, found[0][1]) else None
        ranked = [(self._rank(above, name, source), source) for name, source in found]
        certain = [(rank, source) for rank, source in ranked if rank > 0]
        chosen = max(certain, key=lambda one: one[0], default=(0, None))[1]
        return None if chosen is None or self._instructs(above, chosen) else chosen

    def _instructs(self, above: Node, source: Target) -> bool:
        """Whether a text instructs a language model about pictures or sounds."""
        takes = {spec.type for spec in above.specs.values() if is_link(above.inputs.get(spec.name))}
        return source.node.id == above.id and not takes.isdisjoint(MEDIA)

    def _rank(self, above: Node, name: str, source: Target) -> float:
        """How likely this is the user's part of what ``above`` joins; not at all for 0 or less."""
        if _is_other(above, name, source):
            return 0
        title = source.node.title.lower()
        linked = source.node.id != above.id
        text = source.node.inputs.get(source.name)
        rank = 1.0 + 3 * linked + 2 * any(word in title for word in USER_TITLES)
        rank += 2 * (text == "") - 2 * (linked and not _is_plain(source.node))
        order = FIRST_NAMES.index(name) if name in FIRST_NAMES else len(FIRST_NAMES)
        return rank + (0.5 - order / 100)


def _text_inputs(graph: Graph, node: Node) -> list[str]:
    """The inputs that the text of a node may come from: its texts, else what it passes on."""
    unused = unused_inputs(graph, node)
    given = [s for s in node.specs.values() if s.name in node.inputs and s.name not in unused]
    texts = [spec.name for spec in given if spec.type == "STRING"]
    passed = [
        spec.name for spec in given if spec.type in WILDCARDS and is_link(node.inputs[spec.name])
    ]
    passed += [
        name
        for name, value in node.inputs.items()
        if name not in node.specs and name not in unused and is_link(value)
    ]
    if texts or len(passed) == 1:
        return texts or passed
    return []


def _is_other(above: Node, name: str, source: Target) -> bool:
    """Whether a text is surely not the user's: by its input, its title, or as a template."""
    title = source.node.title.lower()
    if not OTHER_INPUTS.isdisjoint(words(name)) or any(word in title for word in OTHER_TITLES):
        return True
    text = source.node.inputs.get(source.name)
    searched = [
        value
        for other, value in above.inputs.items()
        if isinstance(value, str) and value and not words(other).isdisjoint(SEARCHED)
    ]
    return isinstance(text, str) and any(value in text for value in searched)


def _is_plain(node: Node) -> bool:
    """Whether a node does nothing but hold a text."""
    return sum(spec.type == "STRING" for spec in node.specs.values()) <= 1
