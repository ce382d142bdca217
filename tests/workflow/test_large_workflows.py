"""Large workflows and long lists: linear time, no recursion, and a clear error beyond each limit.

A loop over all pairs of ten thousand would run into the limit of the test.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import settings
from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.call import ToolCall, parse
from comfyui_pipeline.errors import CallError, PatchError, ToolError, WorkflowError
from comfyui_pipeline.workflow import describe, graph, loras, patch, roles, validate
from comfyui_pipeline.workflow import files as library
from comfyui_pipeline.workflow.convert.prompt import convert
from tests.workflow import offline_calls

SCHEMAS = offline_calls.schemas()
MANY = 10_000


@pytest.fixture
def chosen(tmp_path: Path) -> settings.Settings:
    return offline_calls.settings_in(tmp_path)


def chain(count: int) -> dict[str, Any]:
    """An image that is inverted ``count`` times and saved."""
    nodes = {"0": offline_calls.node("EmptyImage", width=8, height=8, batch_size=1, color=0)}
    for number in range(1, count):
        nodes[str(number)] = offline_calls.node("ImageInvert", image=[str(number - 1), 0])
    nodes["end"] = offline_calls.node("SaveImage", images=[str(count - 1), 0], filename_prefix="x")
    return nodes


def conditioned(count: int) -> dict[str, Any]:
    """A sampler with its positive text, seed and image each linked through a long chain."""
    nodes = copy.deepcopy(offline_calls.PROMPT)
    for number in range(count):
        below = ["2", 0] if not number else [f"g{number - 1}", 0]
        nodes[f"g{number}"] = offline_calls.node("FluxGuidance", conditioning=below, guidance=3.5)
        seed = 1 if not number else [f"i{number - 1}", 0]
        nodes[f"i{number}"] = offline_calls.node("PrimitiveInt", value=seed)
    nodes["5"]["inputs"].update(positive=[f"g{count - 1}", 0], seed=[f"i{count - 1}", 0])
    return nodes


@pytest.mark.parametrize("make", [chain, conditioned])
def test_a_chain_of_ten_thousand_nodes_is_patched_and_described(make: Any, chosen: Any) -> None:
    nodes = make(MANY if make is chain else MANY // 2)
    call = {"workflow_json": nodes}
    if make is conditioned:
        nodes["2"]["inputs"]["text"] = "fox"
    assert offline_calls.error_of(call, chosen) == ""
    assert offline_calls.error_of({**call, "command": "describe", "detail": "full"}, chosen) == ""
    found = graph.build(nodes, SCHEMAS)
    assert not validate.problems(found, SCHEMAS)
    if make is conditioned:
        assert [t.node.id for t in roles.texts(found, "positive")] == ["2"]
        assert [t.node.id for t in roles.seeds(found)] == ["i0"]
        assert offline_calls.error_of({**call, "prompt": "fox", "seed": 4}, chosen) == ""


def test_many_samplers_and_savers_behind_a_chain_take_linear_time() -> None:
    nodes = conditioned(4000)
    for number in range(4000):
        nodes[f"s{number}"] = copy.deepcopy(nodes["5"])
        nodes[f"d{number}"] = offline_calls.node(
            "VAEDecode", samples=[f"s{number}", 0], vae=["1", 2]
        )
        nodes[f"p{number}"] = offline_calls.node("PreviewImage", images=[f"d{number}", 0])
        nodes[f"l{number}"] = offline_calls.node("LoadImage", image=f"{number}.png")
    found = graph.build(nodes, SCHEMAS)
    assert [t.node.id for t in roles.texts(found, "positive")] == ["2"]
    assert [t.node.id for t in roles.images(found)] == ["4"]  # the others feed nothing
    wrong = validate.problems(found, SCHEMAS)
    assert (
        len(validate.check(found, nodes, wrong).prompt) == len(nodes) - 4001
    )  # the images, and a latent
    describe.describe(found, "x", wrong, (), full=True)


def test_ten_thousand_missing_node_types_are_reported_briefly() -> None:
    nodes = {str(n): offline_calls.node("Foreign", x=[str(n - 1), 0]) for n in range(1, MANY)}
    nodes["0"] = offline_calls.node("CheckpointLoaderSimple", ckpt_name="none.safetensors")
    nodes |= {
        f"m{n}": offline_calls.node("LoraLoader", lora_name=f"{n}.safetensors") for n in range(MANY)
    }
    found = graph.build(nodes, SCHEMAS)
    wrong = validate.problems(found, SCHEMAS)
    with pytest.raises(WorkflowError) as message:
        validate.check(found, nodes, wrong)
    assert len(str(message.value)) < 6000


def test_a_cycle_of_ten_thousand_nodes_is_reported_once() -> None:
    nodes = chain(MANY)
    nodes["0"] = offline_calls.node("ImageInvert", image=[str(MANY - 1), 0])
    found = graph.build(nodes, SCHEMAS)
    wrong = validate.problems(found, SCHEMAS)
    with pytest.raises(WorkflowError, match="circular link"):
        validate.check(found, nodes, wrong)


def test_two_thousand_lora_loaders_are_chained() -> None:
    wanted = loras.from_list([f"l:{n / 1000}" for n in range(2000)])
    nodes = copy.deepcopy(offline_calls.PROMPT)
    before = graph.build(nodes, SCHEMAS)
    catalog = {"LoraLoader": SCHEMAS["LoraLoader"]}
    added = loras.add_loaders(nodes, before, loras.new_loaders(before, wanted), catalog)
    assert len(added) == len(nodes) + 1999
    after = graph.build(added, SCHEMAS)
    loaders = roles.lora_loaders(after)
    assert len(loaders) == 2000
    above, feeds = after.nodes["5"], []
    while (linked := after.link(above.inputs["model"])) and linked[0].class_type == "LoraLoader":
        above = linked[0]
        feeds.append(above.id)
        assert above.inputs["clip"][0] == above.inputs["model"][0]
    assert len(feeds) == 2000
    assert feeds[-1] == "9"
    assert added["2"]["inputs"]["clip"] == [feeds[0], 1]
    assert nodes == offline_calls.PROMPT


@pytest.mark.parametrize("way", ["list", "tags", "stems"])
def test_a_call_may_name_two_thousand_loras(way: str, chosen: Any) -> None:
    names = ["l"] * 2000 if way != "stems" else ["ink"] * 2000
    call: dict[str, Any] = {
        "workflow_json": offline_calls.PROMPT,
        "prompt": "fox",
        "lora_nodes": "add",
    }
    if way == "tags":
        call["prompt"] = "fox" + "".join(f"<lora:{name}:0.5>" for name in names)
    else:
        call["loras"] = names
    assert offline_calls.error_of(call, chosen) == ""


def test_two_thousand_different_lora_files_are_found_by_their_stems() -> None:
    files = [f"folder/style {n}.safetensors" for n in range(2000)]
    schemas = copy.deepcopy(dict(SCHEMAS))
    schemas["LoraLoader"]["input"]["required"]["lora_name"] = [files]
    nodes = copy.deepcopy(offline_calls.PROMPT)
    wanted = loras.from_list([f"Style_{n}" for n in range(2000)])
    catalog = {"LoraLoader": schemas["LoraLoader"]}
    before = graph.build(nodes, schemas)
    added = loras.add_loaders(nodes, before, loras.new_loaders(before, wanted), catalog)
    call = ToolCall("run")
    plan = patch.plan(graph.build(added, schemas), call, {}, requested_loras=wanted)
    assert {c.value for c in plan.changes if c.target.name == "lora_name"} == set(files)


def test_more_loras_than_the_limit_are_refused_with_the_limit(chosen: Any) -> None:
    call = {"workflow_json": offline_calls.PROMPT, "prompt": "<lora:l>" * 6000, "lora_nodes": "add"}
    assert "at most 5000" in offline_calls.error_of(call, chosen)


def test_five_thousand_params_on_ten_thousand_nodes(chosen: Any) -> None:
    nodes = chain(MANY)
    for number in range(1, MANY):
        nodes[str(number)]["_meta"]["title"] = f"Step {number}"
    nodes |= {
        f"t{n}": offline_calls.node("CLIPTextEncode", f"Text {n}", text="x", clip=["c", 1])
        for n in range(5000)
    }
    nodes["c"] = offline_calls.node("CheckpointLoaderSimple", ckpt_name="a.safetensors")
    by_title = [{"node_title": f"Text {n}", "inputs": {"text": str(n)}} for n in range(5000)]
    by_id = [{"node_id": f"t{n}", "inputs": {"prompt": str(n)}} for n in range(5000)]
    assert offline_calls.error_of({"workflow_json": nodes, "params": by_title}, chosen) == ""
    assert offline_calls.error_of({"workflow_json": nodes, "params": by_id}, chosen) == ""


def test_matching_of_unknown_titles_is_limited(chosen: Any) -> None:
    nodes = chain(5000)
    for number in range(1, 5000):
        nodes[str(number)]["_meta"]["title"] = f"Stepping {number:05}"
    wrong = [
        {"node_title": f"steping {n:05}", "all": True, "inputs": {"image": ["0", 0]}}
        for n in range(1, 5000)
    ]
    message = offline_calls.error_of({"workflow_json": nodes, "params": wrong}, chosen)
    assert "Too many node titles or input names" in message


@pytest.mark.parametrize(
    ("name", "entry"),
    [("params", {"node_id": "2", "inputs": {"text": "x"}}), ("loras", "a"), ("images", "a")],
)
def test_lists_longer_than_the_limit_are_refused(name: str, entry: Any) -> None:
    call = {"workflow": "x", name: [entry] * 10_001}
    with pytest.raises(CallError, match=rf'"{name}" has 10001 entries; at most 10000'):
        parse(json.dumps(call).encode())


@pytest.mark.parametrize(
    ("count", "message"), [(17, "17 parts"), (1000, "1000 parts"), (99, "99 parts")]
)
def test_more_than_sixteen_parts_are_refused(count: int, message: str) -> None:
    call = {f"workflow{n}": "x" for n in range(1, count + 1)}
    with pytest.raises(CallError, match=f"{message}; at most 16"):
        parse(json.dumps(call).encode())
    most = {f"workflow{n}": "x" for n in range(1, 17)}
    assert len(parse(json.dumps(most).encode()).parts) == 16


# -- the editor's format ---------------------------------------------------------------------------

IMAGE = {"name": "IMAGE", "type": "IMAGE"}


def editor_chain(kind: str, count: int, **more: Any) -> dict[str, Any]:
    """An image that passes through ``count`` nodes of one type and is saved."""
    nodes: list[dict[str, Any]] = [
        {"id": 1, "type": "EmptyImage", "outputs": [IMAGE], "widgets_values": [8, 8, 1, 0]}
    ]
    for n in range(2, count + 2):
        nodes.append(
            {
                "id": n,
                "type": kind,
                "inputs": [{"name": "image", "type": "IMAGE", "link": n}],
                "outputs": [IMAGE],
                **more,
            }
        )
    last = count + 2
    images = [{"name": "images", "type": "IMAGE", "link": last}]
    nodes.append({"id": last, "type": "SaveImage", "inputs": images, "widgets_values": ["x"]})
    links = [[n, n - 1, 0, n, 0, "IMAGE"] for n in range(2, last + 1)]
    return {"nodes": nodes, "links": links}


@pytest.mark.parametrize(
    ("kind", "more", "left"),
    [("ImageInvert", {}, MANY + 2), ("ImageInvert", {"mode": 4}, 2), ("Reroute", {}, 2)],
    ids=["nodes", "bypassed", "reroutes"],
)
def test_a_chain_of_ten_thousand_editor_nodes_is_converted(kind: str, more: Any, left: int) -> None:
    document = editor_chain(kind, MANY, **more)
    if kind == "Reroute":
        for one in document["nodes"][1:-1]:
            one["inputs"][0]["name"] = ""
    prompt = convert(document, SCHEMAS).prompt
    assert len(prompt) == left
    assert prompt[str(MANY + 2)]["inputs"]["images"] == [str(MANY + 1) if left > 2 else "1", 0]


def nested(depth: int, copies: int = 1) -> dict[str, Any]:
    """Nested subgraphs, each with ``copies`` instances of the next; the innermost inverts an image."""
    inner = []
    for level in range(depth):
        last = level == depth - 1
        kind = "ImageInvert" if last else f"s{level + 1}"
        nodes = [
            {
                "id": n,
                "type": kind,
                "inputs": [{"name": "image", "type": "IMAGE", "link": n}],
                "outputs": [IMAGE],
            }
            for n in range(1, copies + 1)
        ]
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        links = [(n, n - 1 or -10, 0, n, 0) for n in range(1, copies + 1)]
        links.append((copies + 1, copies, 0, -20, 0))
        inner.append(
            {
                "id": f"s{level}",
                "name": f"Level {level}",
                "inputs": [{"name": "image", "type": "IMAGE", "linkIds": [1]}],
                "outputs": [{**IMAGE, "linkIds": [copies + 1]}],
                "nodes": nodes,
                "links": [dict(zip(names, link, strict=True)) for link in links],
            }
        )
    return {**editor_chain("s0", 1), "definitions": {"subgraphs": inner}}


def test_a_thousand_nested_subgraphs_are_converted() -> None:
    prompt = convert(nested(1000), SCHEMAS).prompt
    assert len(prompt) == 3
    (inverter,) = (i for i, one in prompt.items() if one["class_type"] == "ImageInvert")
    assert inverter.count(":") == 1000
    assert prompt[inverter]["inputs"]["image"] == ["1", 0]
    assert prompt["3"]["inputs"]["images"] == [inverter, 0]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (nested(1001), "more than 1000 subgraphs"),
        (nested(30, copies=2), "more than 100000 nodes"),
        ({"nodes": [{"id": n, "type": "Note"} for n in range(100_001)]}, "more than 100000 nodes"),
    ],
    ids=["too many", "two to the thirtieth", "too large"],
)
def test_a_workflow_that_expands_too_far_is_refused(document: Any, message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        convert(document, SCHEMAS)


def test_a_subgraph_with_thousands_of_promoted_widgets_is_converted() -> None:
    document = offline_calls.editor_document()
    (inner,) = document["definitions"]["subgraphs"]
    inner["nodes"] += [
        {"id": n, "type": "CLIPTextEncode", "widgets_values": ["x"]} for n in range(100, 5100)
    ]
    host = next(one for one in document["nodes"] if one["id"] == 3)
    host["properties"] = {"proxyWidgets": [[str(n), "text"] for n in range(100, 5100)]}
    host["widgets_values"] = [f"value {n}" for n in range(100, 5100)]
    prompt = convert(document, SCHEMAS).prompt
    assert prompt["3:5099"]["inputs"]["text"] == "value 5099"


def test_thousands_of_unknown_nodes_and_primitives_are_handled() -> None:
    document = editor_chain("ImageInvert", 5000)
    for n in range(20_000, 25_000):
        document["nodes"].append({"id": n, "type": f"Foreign{n % 9}", "outputs": [IMAGE]})
        document["nodes"].append({"id": n + 9000, "type": "PrimitiveNode", "widgets_values": [1]})
    converted = convert(document, SCHEMAS)
    assert len(converted.prompt) == 5002


# -- nesting ---------------------------------------------------------------------------------------


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


DEEP = ("is nested deeper than 200 levels",)


@pytest.mark.parametrize("levels", [250, 900, 5000, 200_000])
def test_json_nested_too_deeply_is_reported_with_its_place(
    levels: int, chosen: Any, tmp_path: Path
) -> None:
    inside = deep(levels)
    cases = {
        "The call": f'{{"workflow": "x", "params": {inside}}}',
        '"params"': json.dumps({"workflow": "x", "params": inside}),
        '"workflow_json"': json.dumps({"workflow_json": f'{{"nodes": {inside}}}'}),
        '"loras"': json.dumps({"workflow": "x", "loras": inside}),
    }
    for where, raw in cases.items():
        with pytest.raises(CallError) as message:
            parse(raw.encode())
        assert where in str(message.value)
        assert "nested deeper than 200 levels" in str(message.value)
    (tmp_path / "workflows" / "deep.json").write_text(f'{{"nodes": [], "x": {inside}}}', "utf-8")
    error = offline_calls.error_of({"workflow": "deep"}, chosen)
    assert error.startswith("The workflow 'deep' is nested deeper than 200 levels.")


def test_an_image_whose_workflow_is_nested_too_deeply_is_reported() -> None:
    import io

    from PIL import Image, PngImagePlugin

    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", f'{{"nodes": [], "x": {deep(900)}}}')
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=notes)
    with pytest.raises(WorkflowError, match=r"image 'p.png'.*'workflow' is nested deeper than 200"):
        library.from_bytes("p.png", buffer.getvalue())


@pytest.mark.parametrize("levels", [199, 200, 201])
def test_two_hundred_levels_of_nesting_are_accepted(levels: int) -> None:
    if levels > 200:
        with pytest.raises(json_text.InvalidJson):
            json_text.read(deep(levels))
    else:
        assert not json_text.is_deeper_than(json_text.read(deep(levels)), 200)


def texts_with_choices() -> Iterator[str]:
    yield "{a|" * 300 + "b" + "}" * 300
    yield "{" * 800 + "}" * 800


def test_nested_choices_over_the_limit_are_an_error_naming_the_node() -> None:
    document = offline_calls.editor_document()
    text = next(one for one in document["nodes"] if one["id"] == 5)
    for content in texts_with_choices():
        text["widgets_values"] = [content]
        convert(document, SCHEMAS)
    text["widgets_values"] = ["{" * 200_000]
    with pytest.raises(WorkflowError, match=r"Node 5 .*nested too deeply"):
        convert(document, SCHEMAS)


def test_a_template_that_multiplies_a_long_text_is_refused(chosen: Any) -> None:
    nodes = copy.deepcopy(offline_calls.PROMPT)
    nodes["2"]["inputs"]["text"] = "{{PROMPT}} " * 10_000
    message = offline_calls.error_of({"workflow_json": nodes, "prompt": "word " * 20_000}, chosen)
    assert "exceed 33554432 characters" in message


def test_errors_that_quote_long_values_are_truncated(chosen: Any) -> None:
    long = "x" * 100_000
    for call in (
        {"workflow": long},
        {"command": long},
        {"info": long},
        {
            "workflow_json": offline_calls.PROMPT,
            "params": [{"node_title": long, "inputs": {"text": "x"}}],
        },
        {
            "workflow_json": offline_calls.PROMPT,
            "params": [{"node_id": "2", "inputs": {long: "x"}}],
        },
        {"workflow_json": {"1": offline_calls.node(long, long)}},
    ):
        message = offline_calls.error_of(call, chosen)
        assert message
        assert len(message) < 5000


def test_error_of_returns_the_tool_error() -> None:
    assert issubclass(PatchError, ToolError)
