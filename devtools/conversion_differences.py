"""Hold conversion against prompts recorded in the editor, and every difference against the listed ones.

``python -m devtools.conversion_differences RECORDS`` reads ``RECORDS/<corpus>/<name>.ui.json`` and
``.api.json`` and, beside RECORDS, the server's ``object_info``. The project keeps no such workflows, but
the table of what differs and why: tests/data/conversion/differences.json, by corpus and kind. Reported
are differences that are not listed, and listed ones that are gone. ``--write`` updates the listed counts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.convert.prompt import Converted, convert
from comfyui_pipeline.workflow.graph import is_link
from input_server.light_dataclasses import dataclass

TABLE = Path(__file__).resolve().parents[1] / "tests" / "data" / "conversion" / "differences.json"
SEEDS = ("seed", "noise_seed")
ABSENT = "(absent)"
Prompt = Mapping[str, Mapping[str, Any]]
Counts = dict[str, dict[str, int]]
"""Kind -> workflow -> how many inputs and nodes differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs: an input of a node, or, with an empty ``name``, the node."""

    node_id: str
    name: str
    got: Any
    wanted: Any

    def __str__(self) -> str:
        where = f"{self.node_id}.{self.name}" if self.name else f"node {self.node_id}"
        return f"{where}: {self.got!r:.80}, the editor: {self.wanted!r:.80}"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One workflow with what the editor made of it."""

    corpus: str
    document: Mapping[str, Any]
    prompt: Prompt
    schemas: Mapping[str, Any]


def differences(got: Prompt, one: Recorded) -> Iterator[Difference]:
    """What the server would see differently."""
    ours, theirs = _seen(got, one.schemas), _seen(one.prompt, one.schemas)
    for node_id in ours.keys() | theirs.keys():
        mine, their = ours.get(node_id), theirs.get(node_id)
        if mine is None or their is None or mine[0] != their[0]:
            yield Difference(node_id, "", mine and mine[0], their and their[0])
            continue
        for name in mine[1].keys() | their[1].keys():
            a, b = mine[1].get(name, ABSENT), their[1].get(name, ABSENT)
            if a != b or (type(a) is not type(b) and not {type(a), type(b)} <= {int, float}):
                yield Difference(node_id, name, a, b)


def _seen(prompt: Prompt, schemas: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    nodes = {}
    for node_id, node in prompt.items():
        if schema := schemas.get(node.get("class_type", "")):
            known = {n for k in ("required", "optional") for n in schema["input"].get(k, {})}
            sent = node["inputs"].items()
            inputs = {n: v for n, v in sent if n in known or "." in n or is_link(v)}
            nodes[node_id] = (node["class_type"], inputs)
    return nodes


def kind_of(difference: Difference, one: Recorded, converted: Converted) -> str | None:
    """The kind of a difference whose reason its values show; None for one that was judged by hand."""
    got, wanted, name = difference.got, difference.wanted, difference.name
    sources = one.prompt.get(wanted[0], {}) if is_link(wanted) else None
    if sources is not None and sources.get("class_type") not in one.schemas:
        return "nodes of the editor"
    if not name or difference.node_id not in converted.places:
        return None
    node = converted.places[difference.node_id][1]
    schema = one.schemas[node.ui.type]
    if isinstance(wanted, str) and _is_dated(node.ui.values, got, wanted):
        return "date"
    if not schema["output"] and not schema["output_node"]:
        return "nodes that never run"
    if isinstance(node.ui.values, Mapping) and "-js-" not in one.corpus:
        return "values by name"
    return _kind_of_value(name, got, wanted)


def _kind_of_value(name: str, got: Any, wanted: Any) -> str | None:
    if name in SEEDS and isinstance(got, int) and type(wanted) is int:
        return "drawn seeds"
    if isinstance(wanted, dict) and "content" in wanted:
        return "choices with a preview"
    if wanted == "[IMAGE DATA]":
        return "data left out"
    if isinstance(got, str) and got.endswith("add to the text"):
        return "menus"
    return "choices in another language" if isinstance(got, str) and "(custom)" in got else None


def _is_dated(values: Any, got: Any, wanted: str) -> bool:
    texts = values.values() if isinstance(values, Mapping) else values
    dated = any(isinstance(text, str) and "%date" in text for text in texts)
    return dated and isinstance(got, str) and re.sub(r"\d", "0", got) == re.sub(r"\d", "0", wanted)


def counted(one: Recorded, by_hand: str | None) -> tuple[Counter[str], list[str]]:
    """How many differences of each kind there are, and a line for each of no kind."""
    try:
        converted = convert(one.document, one.schemas, now=datetime(2026, 1, 1))
    except WorkflowError as error:
        refused = Difference("", "", error.message, len(one.prompt))
        return (Counter([by_hand]), []) if by_hand else (Counter(), [str(refused)])
    kinds: Counter[str] = Counter()
    lines = []
    for difference in differences(converted.prompt, one):
        kind = kind_of(difference, one, converted) or by_hand
        if kind is None:
            lines.append(str(difference))
        else:
            kinds[kind] += 1
    return kinds, lines


def compare(records: Path, corpus: str, listed: Counts) -> tuple[Counts, list[str]]:
    """The differences of a corpus by kind, and what is to be reported."""
    found: Counts = {kind: {} for kind in listed}
    report = []
    schemas = _schemas(records, corpus)
    paths = sorted((records / corpus).glob("*.api.json"))
    for path in paths:
        name = path.name.removesuffix(".api.json")
        document = json.loads((path.parent / f"{name}.ui.json").read_text("utf-8"))
        one = Recorded(corpus, document, json.loads(path.read_text("utf-8")), schemas)
        hand = [kind for kind, names in listed.items() if name in names and kind not in BY_VALUE]
        kinds, lines = counted(one, hand[0] if hand else None)
        report += [f"{corpus}/{name}: not listed: {line}" for line in lines]
        for kind, number in kinds.items():
            found.setdefault(kind, {})[name] = number
    for kind in sorted(found.keys() | listed.keys()):
        old, new = listed.get(kind, {}), found.get(kind, {})
        for name in sorted(old.keys() | new.keys()):
            if old.get(name, 0) != new.get(name, 0):
                counts = f"listed {old.get(name, 0)}, found {new.get(name, 0)}"
                report.append(f"{corpus}/{name}: {kind}: {counts}")
    differing = {name for names in found.values() for name in names}
    differing |= {line.split(": ")[0].rpartition("/")[2] for line in report if "not listed" in line}
    print(f"{corpus}: {len(paths) - len(differing)} of {len(paths)} equal")
    return found, report


BY_VALUE = (
    "nodes of the editor",
    "nodes that never run",
    "values by name",
    "date",
    "drawn seeds",
    "choices with a preview",
    "data left out",
    "menus",
    "choices in another language",
)
"""The kinds that ``kind_of`` finds."""


def _schemas(records: Path, corpus: str) -> Mapping[str, Any]:
    source = "wild" if corpus.startswith("wild") else f"comfyui-{corpus.rpartition('-')[2]}"
    plain = records.parent / f"object_info.{source}.json"
    if plain.exists():
        return dict(json.loads(plain.read_bytes()))
    return dict(json.loads(gzip.decompress(plain.with_suffix(".json.gz").read_bytes())))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("--write", action="store_true", help="list what was found as it is now")
    options = parser.parse_args()
    table = json.loads(TABLE.read_text("utf-8"))
    reports: list[str] = []
    for corpus, kinds in table.items():
        listed = {kind: entry["workflows"] for kind, entry in kinds.items()}
        found, report = compare(options.records, corpus, listed)
        reports += report
        for kind, names in found.items():
            kinds.setdefault(kind, {"reason": ""})["workflows"] = names
    print("\n".join(reports))
    if options.write:
        TABLE.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
