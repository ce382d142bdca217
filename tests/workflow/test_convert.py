"""Converting the editor's format to the prompt that the editor itself would send.

``tests/data/conversion`` holds what frontend 1.58.1 exported: a digest for each official template
(the files come from a package) and for each small workflow that shows one rule.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import importlib.util
import json
import random
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_pipeline.errors import ToolError, WorkflowError
from comfyui_pipeline.workflow import files, patch
from comfyui_pipeline.workflow.convert.prompt import Converted, convert

DATA = Path(__file__).resolve().parents[1] / "data" / "conversion"
PACKAGE = "comfyui_workflow_templates_json"
Document = dict[str, Any]


@cache
def data(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


@cache
def classes(corpus: str) -> Mapping[str, Any]:
    name = f"classes-{corpus.rpartition('-')[2]}.json"
    if (DATA / name).exists():
        return data(name)
    return json.loads(gzip.decompress((DATA / f"{name}.gz").read_bytes()))


@cache
def templates() -> Mapping[str, Path]:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations)))
    return {path.stem: path for path in root.rglob("*.json")}


def document(corpus: str, name: str) -> Document:
    if corpus.startswith("templates"):
        return json.loads(templates()[name].read_text("utf-8"))
    small = data("small_workflows.json")
    version = corpus.rpartition("-")[2]
    return copy.deepcopy(small.get(f"{name}@{version}", small[name]))


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def digest(prompt: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A digest of the nodes of known type, without inputs that only widgets of the editor add."""
    nodes = {}
    for node_id, node in prompt.items():
        if spec := schema.get(node.get("class_type", "")):
            known = {name for group in spec["input"].values() for name in group}
            nodes[node_id] = [
                node["class_type"],
                {k: v for k, v in node["inputs"].items() if k in known or "." in k or is_link(v)},
            ]
    text = json.dumps(
        as_javascript(nodes), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def as_javascript(value: Any) -> Any:
    """JavaScript writes ``1.0`` as ``1``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [as_javascript(item) for item in value]
    if isinstance(value, dict):
        return {key: as_javascript(item) for key, item in value.items()}
    return value


RECORDED = [(corpus, name) for corpus, names in data("digests.json").items() for name in names]


@pytest.mark.parametrize(("corpus", "name"), RECORDED)
def test_the_prompt_equals_the_editors_own_export(corpus: str, name: str) -> None:
    result = convert(document(corpus, name), classes(corpus))
    assert digest(result.prompt, classes(corpus)) == data("digests.json")[corpus][name]


@pytest.mark.parametrize(("corpus", "name"), RECORDED[::5])
def test_a_converted_prompt_loads_unchanged_and_an_empty_patch_changes_nothing(
    corpus: str, name: str
) -> None:
    prompt = convert(document(corpus, name), classes(corpus)).prompt
    through = files.from_bytes("x", json.dumps(prompt).encode())
    assert through.ui is None
    assert through.nodes == prompt
    assert patch.apply(prompt, []) == prompt


NEWEST = "templates-0.33.0"
NEEDS_BROWSER = "the editor sends the camera of its 3D view"
OTHER_THAN_THE_EDITOR: Mapping[str, str] = {
    "3d_pixal3d_trellis2_image_to_model": NEEDS_BROWSER,
    "api_hunyuan3d_model2uv": NEEDS_BROWSER,
    "api_hunyuan3d_retopo_uv": NEEDS_BROWSER,
    "api_tripo_p2_image_to_model": NEEDS_BROWSER,
    "api_tripo_p2_multiview_to_model": NEEDS_BROWSER,
    "api_tripo_p2_text_to_model": NEEDS_BROWSER,
    "flux1_dev_uso_reference_image_gen": "the editor runs the inside of a bypassed subgraph",
}
"""Official templates whose prompt differs from the editor's, and why; all others are recorded."""


def test_every_template_equals_the_editors_export_or_is_listed_with_the_reason() -> None:
    recorded = set(data("digests.json")[NEWEST])
    assert not recorded & set(OTHER_THAN_THE_EDITOR)
    assert len(recorded) == 322


# -- where the editor itself is wrong --------------------------------------------------------------

BASE = ("synthetic-0.8.0", "syn-base")


def base() -> Document:
    """Loader 1, texts 2 and 3, latent 4, sampler 5, decoder 6, saver 7."""
    return document(*BASE)


def node(result: Document, node_id: int) -> Document:
    return next(one for one in result["nodes"] if one["id"] == node_id)


def converted(result: Document, **how: Any) -> Converted:
    return convert(result, classes(BASE[0]), **how)


def test_values_saved_without_control_after_generate_are_not_shifted() -> None:
    old = base()
    node(old, 5)["widgets_values"] = [7, 9, 3.5, "euler", "normal", 1]
    result = converted(old)
    inputs = result.prompt["5"]["inputs"]
    assert (inputs["seed"], inputs["steps"], inputs["cfg"]) == (7, 9, 3.5)
    assert (inputs["sampler_name"], inputs["scheduler"], inputs["denoise"]) == (
        "euler",
        "normal",
        1,
    )
    assert "5 (KSampler)" in result.important[0]


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("3d_hunyuan3d-v2.1", "19", {"steps": 30, "sampler_name": "euler", "threshold": 0.6}),
        ("3d_hunyuan3d_image_to_model", "91", {"steps": 20, "cfg": 8, "resolution": 3072}),
    ],
)
def test_promoted_values_keep_their_position_when_an_inner_widget_is_missing(
    name: str, host: str, expected: dict[str, Any]
) -> None:
    result = converted(document("templates-0.8.0", name))
    inner = [node["inputs"] for i, node in result.prompt.items() if i.startswith(f"{host}:")]
    for key, value in expected.items():
        assert [inputs[key] for inputs in inner if key in inputs] == [value]
    assert any("sampling" in note for note in result.notes)


def test_a_widget_moved_by_its_node_type_gets_its_value() -> None:
    moved = {"input": {"required": {"flag": ["BOOLEAN"], "seed": ["INT"], "kind": [["a", "b"]]}}}
    document = {"nodes": [{"id": 1, "type": "Moved", "widgets_values": [0, "fixed", "b", False]}]}
    result = convert(document, {"Moved": {**moved, "output": []}})
    assert result.prompt["1"]["inputs"] == {"flag": False, "seed": 0, "kind": "b"}


def test_a_dangling_link_is_an_error_at_a_required_input_and_a_note_elsewhere() -> None:
    broken = base()
    broken["links"] = [link for link in broken["links"] if link[0] != 9]
    with pytest.raises(WorkflowError, match=r"Node 7 \(SaveImage\).*'images'.*link 9"):
        converted(broken)
    broken = base()
    node(broken, 5)["inputs"].append(
        {"name": "steps", "type": "INT", "widget": {"name": "steps"}, "link": 77}
    )
    result = converted(broken)
    assert result.prompt["5"]["inputs"]["steps"] == 7
    assert "'steps' was left unlinked" in result.important[0]


def test_a_link_from_a_missing_node_is_reported() -> None:
    broken = base()
    broken["nodes"] = [one for one in broken["nodes"] if one["id"] != 6]
    with pytest.raises(WorkflowError, match="node 6, which is missing"):
        converted(broken)


def test_values_saved_by_name_are_assigned_by_name() -> None:
    named = base()
    node(named, 5)["widgets_values"] = {"steps": 9, "scheduler": "normal", "seed": 3}
    inputs = converted(named).prompt["5"]["inputs"]
    assert (inputs["steps"], inputs["scheduler"], inputs["seed"]) == (9, "normal", 3)
    assert inputs["cfg"] == 8.0


def test_links_that_an_extension_draws_are_followed() -> None:
    drawn = base()
    node(drawn, 7)["inputs"][0]["link"] = None
    drawn["links"] = [link for link in drawn["links"] if link[0] != 9]
    drawn["links"].append([90, 6, 0, 50, 0, "IMAGE"])
    drawn["nodes"].append(
        {"id": 50, "type": "Everywhere", "inputs": [{"name": "anything", "type": "*", "link": 90}]}
    )
    entry = {"downstream": 7, "downstream_slot": 0, "upstream": "6", "upstream_slot": 0}
    odd: list[Any] = [None, {}, {**entry, "downstream_slot": "x"}, {**entry, "upstream": 99}]
    drawn["extra"] = {"ue_links": [*odd, {**entry, "controller": 50, "type": "IMAGE"}]}
    result = converted(drawn)
    assert result.prompt["7"]["inputs"]["images"] == ["6", 0]
    assert "50" not in result.prompt


@pytest.mark.parametrize("name", ["", "in"])
def test_nodes_of_extensions_that_only_pass_on_are_followed(name: str) -> None:
    passed = base()
    node(passed, 7)["inputs"][0]["link"] = 91
    passed["links"] = [link for link in passed["links"] if link[0] != 9]
    passed["links"] += [[90, 6, 0, 50, 0, "IMAGE"], [91, 50, 0, 7, 0, "IMAGE"]]
    kind = "Reroute (pack)" if name else "Bend"
    sockets = {"inputs": [{"name": name, "type": "IMAGE", "link": 90}]}
    outputs = [{"name": name, "type": "IMAGE", "links": [91]}]
    passed["nodes"].append({"id": 50, "type": kind, **sockets, "outputs": outputs})
    result = converted(passed)
    assert result.prompt["7"]["inputs"]["images"] == ["6", 0]
    assert "50" not in result.prompt


def test_set_and_get_nodes_of_the_same_name_are_linked() -> None:
    shared = base()
    node(shared, 7)["inputs"][0]["link"] = 91
    shared["links"] = [link for link in shared["links"] if link[0] != 9]
    shared["links"] += [[90, 6, 0, 70, 0, "IMAGE"], [91, 71, 0, 7, 0, "IMAGE"]]
    image = {"name": "IMAGE", "type": "IMAGE"}
    shared["nodes"] += [
        {"id": 70, "type": "SetIt", "inputs": [{**image, "link": 90}], "widgets_values": ["pic"]},
        {
            "id": 71,
            "type": "GetIt",
            "outputs": [{**image, "links": [91]}],
            "widgets_values": ["pic"],
        },
    ]
    result = converted(shared)
    assert result.prompt["7"]["inputs"]["images"] == ["6", 0]
    assert not result.unknown
    assert set(result.prompt) == {"1", "2", "3", "4", "5", "6", "7"}


@pytest.mark.parametrize("mode", [2, 4])
@pytest.mark.parametrize("name", ["syn-sub-nested-3", "syn-sub-nested"])
def test_the_inner_nodes_of_a_muted_or_bypassed_subgraph_do_not_run(name: str, mode: int) -> None:
    nested = document("synthetic-0.8.0", name)
    keys = {one["id"] for one in nested["definitions"]["subgraphs"]}
    holders = [nested, *nested["definitions"]["subgraphs"]]
    for holder in holders:
        hosts = [one for one in holder["nodes"] if one["type"] in keys]
        for host in hosts:
            host["mode"] = mode
    assert not any(":" in node_id for node_id in converted(nested).prompt)


def test_a_muted_nested_subgraph_is_left_out_with_its_inner_nodes() -> None:
    nested = document("synthetic-0.8.0", "syn-sub-nested-3")
    keys = {one["id"] for one in nested["definitions"]["subgraphs"]}
    before = convert(nested, classes(BASE[0])).prompt
    for holder in nested["definitions"]["subgraphs"]:
        for host in holder["nodes"]:
            if host["type"] in keys:
                host["mode"] = 2
    after = converted(nested).prompt
    assert max(node_id.count(":") for node_id in after) < max(i.count(":") for i in before)


@pytest.mark.parametrize("spelling", ["workflow>pair", "workflow/pair"])
def test_an_old_group_node_becomes_its_inner_nodes(spelling: str) -> None:
    grouped = base()
    sampler, decoder = node(grouped, 5), node(grouped, 6)
    inner = [{**copy.deepcopy(sampler), "widgets_values": [0, "fixed", 1, 1, "euler", "normal", 1]}]
    inner.append(copy.deepcopy(decoder))
    grouped["extra"] = {"groupNodes": {"pair": {"nodes": inner, "links": [[0, 0, 1, 0, 5]]}}}
    names = ("model", "positive", "negative", "latent_image", "vae")
    links = (3, 4, 5, 6, 8)
    grouped["nodes"] = [one for one in grouped["nodes"] if one["id"] not in (5, 6)]
    grouped["nodes"].append(
        {
            "id": 40,
            "type": spelling,
            "inputs": [
                {"name": name, "type": "*", "link": link}
                for name, link in zip(names, links, strict=True)
            ],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [9]}],
            "widgets_values": [99, "fixed", 11, 6.5, "dpmpp_2m", "karras", 0.9],
        }
    )
    for link in grouped["links"]:
        if link[3] in (5, 6):
            link[3], link[4] = 40, links.index(link[0]) if link[0] in links else 9
        if link[1] == 6:
            link[1] = 40
    result = converted(grouped).prompt
    assert result["43:41"]["inputs"]["seed"] == 99
    assert result["43:41"]["inputs"]["scheduler"] == "karras"
    assert result["43:41"]["inputs"]["latent_image"] == ["4", 0]
    assert result["43:42"]["inputs"] == {"samples": ["43:41", 0], "vae": ["1", 2]}
    assert result["7"]["inputs"]["images"] == ["43:42", 0]


def test_values_that_are_all_null_mean_the_defaults() -> None:
    empty = base()
    node(empty, 5)["widgets_values"] = [None] * 7
    inputs = converted(empty).prompt["5"]["inputs"]
    assert (inputs["seed"], inputs["steps"], inputs["sampler_name"]) == (0, 20, "euler")


def test_a_renamed_node_type_gets_its_new_name() -> None:
    old = base()
    old["nodes"].append({"id": 9, "type": "ConditioningAverage ", "widgets_values": [0.3]})
    assert converted(old).prompt["9"]["class_type"] == "ConditioningAverage"


def test_a_seed_above_2_to_the_53_stays_exact() -> None:
    big = base()
    node(big, 5)["widgets_values"][0] = 2**64 - 1
    assert converted(big).prompt["5"]["inputs"]["seed"] == 2**64 - 1


def test_a_url_in_a_text_is_not_a_comment() -> None:
    text = base()
    node(text, 2)["widgets_values"] = ["see https://a.b/c // not this\nbut /* nor this */ that"]
    assert converted(text).prompt["2"]["inputs"]["text"] == "see https://a.b/c \nbut  that"


def test_random_choices_depend_on_the_seed_and_are_reported() -> None:
    text = base()
    node(text, 2)["widgets_values"] = [r"a {red|blue|{light|dark} green} \{cat\}"]
    first, again = converted(text, seed=4), converted(text, seed=4)
    assert first == again
    chosen = first.prompt["2"]["inputs"]["text"]
    assert chosen.endswith("{cat}")
    assert "|" not in chosen
    assert "chosen at random" in first.notes[0]
    assert len({converted(text, seed=s).prompt["2"]["inputs"]["text"] for s in range(40)}) == 4


def with_text_inside(text: str) -> Document:
    """The positive text is inside a subgraph, promoted to its instance."""
    result = base()
    result["nodes"] = [one for one in result["nodes"] if one["id"] != 2]
    result["nodes"].append(
        {
            "id": 2,
            "type": "text-graph",
            "inputs": [{"name": "clip", "type": "CLIP", "link": 1}],
            "outputs": [{"name": "C", "type": "CONDITIONING", "links": [4]}],
            "widgets_values": [text],
        }
    )
    sockets = [
        {"name": "clip", "type": "CLIP", "link": 1},
        {"name": "text", "type": "STRING", "widget": {"name": "text"}, "link": 2},
    ]
    wires = [(1, -10, 0, 20, 0), (2, -10, 1, 20, 1), (3, 20, 0, -20, 0)]
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    result["definitions"] = {
        "subgraphs": [
            {
                "id": "text-graph",
                "name": "Text",
                "inputs": [
                    {"name": "clip", "type": "CLIP", "linkIds": [1]},
                    {"name": "text", "type": "STRING", "linkIds": [2]},
                ],
                "outputs": [{"name": "C", "type": "CONDITIONING", "linkIds": [3]}],
                "nodes": [
                    {
                        "id": 20,
                        "type": "CLIPTextEncode",
                        "inputs": sockets,
                        "outputs": [{"name": "C", "type": "CONDITIONING"}],
                        "widgets_values": ["inner"],
                    }
                ],
                "links": [dict(zip(names, wire, strict=True)) for wire in wires],
            }
        ]
    }
    return result


def test_a_promoted_text_has_random_choices_unless_it_is_json() -> None:
    result = converted(with_text_inside("a {red|blue} fox // note"))
    assert result.prompt["2:20"]["inputs"]["text"] in ("a red fox ", "a blue fox ")
    assert result.prompt["5"]["inputs"]["positive"] == ["2:20", 0]
    as_json = '{"subject": "fox", "tags": ["a|b"]}'
    assert converted(with_text_inside(as_json)).prompt["2:20"]["inputs"]["text"] == as_json


def test_a_date_pattern_uses_the_given_time() -> None:
    dated = base()
    node(dated, 7)["widgets_values"] = ["%date:yyyy-MM-dd_hhmmss% %width% %KSampler.steps%"]
    result = converted(dated, now=datetime(2026, 3, 4, 5, 6, 7))
    assert result.prompt["7"]["inputs"]["filename_prefix"] == "2026-03-04_050607 %width% 7"


def test_a_value_that_only_a_browser_can_compute_is_refused_where_needed() -> None:
    camera = {"input": {"required": {"image": ["WEBCAM", {}]}}, "output": ["IMAGE"]}
    with_camera = base()
    with_camera["nodes"].append({"id": 8, "type": "Camera", "outputs": [{"type": "IMAGE"}]})
    result = convert(with_camera, {**classes(BASE[0]), "Camera": camera})
    assert "needs a browser" in result.notes[0]
    with_camera["links"] = [link for link in with_camera["links"] if link[0] != 9]
    with_camera["links"].append([9, 8, 0, 7, 0, "IMAGE"])
    with pytest.raises(WorkflowError, match="needs a browser"):
        convert(with_camera, {**classes(BASE[0]), "Camera": camera})


def test_an_unknown_node_type_is_named_with_its_title() -> None:
    strange = base()
    strange["nodes"].append(
        {
            "id": 8,
            "type": "Strange",
            "title": "Odd",
            "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        }
    )
    for link in strange["links"]:
        if link[0] == 9:
            link[1] = 8
    assert converted(strange).unknown == ('8 "Odd" (Strange)',)


# -- mangled files ---------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (None, -1, 0, 1.5, "", "x", True, [], {}, [None], {"a": 1}, 10**30, "-10")


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        found.append((value, key))
        if isinstance(inner, (dict, list)):
            places(inner, found)
    return found


def mangle(result: Document, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 6)):
        spots = places(result, [])
        if not spots:
            return
        holder, key = rng.choice(spots)
        what = rng.random()
        if what < 0.3:
            del holder[key]
        elif what < 0.8:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        else:
            other, name = rng.choice(spots)
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = copy.deepcopy(other[name])


MANGLED = (
    "syn-base",
    "syn-sub-nested-3",
    "syn-sub-promoted-two-instances",
    "syn-v3-dyncombo-1",
    "syn-v3-autogrow-3",
    "syn-reroute-fanout",
    "syn-primitive-string",
    "syn-bypass-lora",
)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(MANGLED),
)
def test_a_mangled_file_is_converted_or_raises_a_tool_error(number: int, name: str) -> None:
    result = document("synthetic-0.8.0", name)
    mangle(result, random.Random(number))
    if not files.is_editor_document(result):
        return
    try:
        outcome = "converted" if converted(result).prompt else ""
    except ToolError as error:
        outcome = str(error)
    assert outcome


def test_values_by_name_are_sent_even_where_the_class_does_not_list_them() -> None:
    """Packs add widgets in JavaScript that depend on another value (a video format's ``crf``)."""
    named = base()
    node(named, 7)["widgets_values"] = {
        "filename_prefix": "films",
        "crf": 19,
        "videopreview": {"hidden": False},
    }
    inputs = converted(named).prompt["7"]["inputs"]
    assert (inputs["filename_prefix"], inputs["crf"]) == ("films", 19)
    assert "videopreview" not in inputs


def test_a_choice_that_was_saved_with_its_preview_is_the_choice() -> None:
    shown = base()
    node(shown, 1)["widgets_values"] = [{"content": "v1-5.safetensors", "image": None}]
    assert converted(shown).prompt["1"]["inputs"]["ckpt_name"] == "v1-5.safetensors"
