"""Workflows of node packs: what their JavaScript decides in the editor, by rules that packs share.

No class is named in the code: the classes here are made up.
"""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.workflow.convert.prompt import Converted, convert

Raw = dict[str, Any]
NUMBER = ["INT", {"default": 0, "min": 0}]


def kind(inputs: Raw, outputs: tuple[str, ...] = ("IMAGE",), **more: Any) -> Raw:
    """A node type of the server; an input named with ``?`` at its end is optional."""
    required = {name: spec for name, spec in inputs.items() if not name.endswith("?")}
    optional = {name[:-1]: spec for name, spec in inputs.items() if name.endswith("?")}
    groups = {"required": required, "optional": optional}
    return {"input": groups, "output": list(outputs), "output_node": not outputs, **more}


def node(number: int, name: str, values: Any = None, inputs: list[Raw] | None = None) -> Raw:
    outputs = [{"name": "out", "type": "INT"}, {"name": "out", "type": "INT"}]
    more = {} if values is None else {"widgets_values": values}
    return {"id": number, "type": name, "inputs": inputs or [], "outputs": outputs, **more}


def linked(name: str, link: int | None, type_: str = "INT", *, widget: bool = False) -> Raw:
    return {"name": name, "type": type_, "link": link} | (
        {"widget": {"name": name}} if widget else {}
    )


def converted(nodes: list[Raw], links: list[Any], schemas: Raw, **more: Any) -> Converted:
    return convert({"nodes": nodes, "links": links, **more}, schemas)


def inputs_of(values: Any, schema: Raw) -> Raw:
    """The inputs of one node with these values."""
    return dict(converted([node(1, "One", values)], [], {"One": schema}).prompt["1"]["inputs"])


FILM = kind({"film": ["STRING", {}], "custom_width": NUMBER, "custom_height": NUMBER})


@pytest.mark.parametrize(
    ("choice", "size"),
    [
        ("Disabled", (0, 0)),
        ("Custom Width", (512, 0)),
        ("Custom Height", (0, 256)),
        ("Custom", (512, 256)),
        ("?x240", (0, 240)),
        ("320x240", (320, 240)),
        (7, (512, 256)),
    ],
)
def test_a_size_that_an_older_version_switched_off_is_zero(choice: Any, size: Any) -> None:
    values = {"film": "a.mp4", "force_size": choice, "custom_width": 512, "custom_height": 256}
    sent = inputs_of(values, FILM)
    assert (sent["custom_width"], sent["custom_height"]) == size


def test_a_value_whose_widget_is_drawn_by_a_pack_is_sent() -> None:
    schema = kind({"start?": ["FLOAT", {"default": 0, "widgetType": "PACK_CLOCK"}]})
    assert inputs_of({"start": 9}, schema) == {"start": 9}
    assert inputs_of([9], schema) == {"start": 9}


MENU = [["Select the LoRA to add to the text", "a.safetensors"]]


def test_a_menu_that_adds_to_a_text_stays_at_its_first_choice() -> None:
    schema = kind({"text": ["STRING", {"multiline": True}], "pick": MENU})
    assert inputs_of(["cat", "gone.safetensors"], schema)["pick"] == MENU[0][0]


def test_a_choice_that_says_custom_in_another_language_is_found() -> None:
    schema = kind({"size": [["width x height (custom)", "512 x 512"]], "width": NUMBER})
    assert inputs_of(["自定义 x 自定义", 8], schema)["size"] == "width x height (custom)"
    assert inputs_of(["640 x 640", 8], schema)["size"] == "640 x 640"


def test_what_a_pack_saves_in_place_of_data_is_not_sent() -> None:
    schema = kind({"data": ["STRING", {}], "on": ["BOOLEAN", {}]})
    assert inputs_of(["[IMAGE DATA]", True], schema) == {"data": "", "on": True}


def test_a_number_in_a_text_area_is_sent_as_text() -> None:
    schema = kind({"long": ["STRING", {"multiline": True}], "short": ["STRING", {}]})
    assert inputs_of([1.0, 1.0], schema) == {"long": "1", "short": 1.0}


@pytest.mark.parametrize(("low", "is_drawn"), [(-(2**50), True), (-1, False)])
def test_a_seed_that_stands_for_a_random_one_is_drawn_and_told(low: int, is_drawn: bool) -> None:
    schema = kind({"seed": ["INT", {"min": low, "max": 2**50}]})
    result = converted([node(1, "One", [-1])], [], {"One": schema})
    sent = result.prompt["1"]["inputs"]["seed"]
    assert (sent >= 0) is is_drawn
    assert any(f"drawn for each run: {sent}" in note for note in result.notes) is is_drawn


def test_as_many_values_as_widgets_stay_where_they_are() -> None:
    """The choices that a pack fills in JavaScript are not in the schema."""
    schema = kind({"use": [["_"]], "name": [[]], "strength": ["INT", {}], "text": ["STRING", {}]})
    values = [False, "canny.pth", 0.5, 3]
    assert list(inputs_of(values, schema).values()) == values
    swapped = kind({"text": ["STRING", {}], "on": ["BOOLEAN", {}]})
    assert inputs_of([True, "cat"], swapped) == {"text": "cat", "on": True}


def test_missing_values_are_those_of_the_last_widgets_if_nothing_says_otherwise() -> None:
    schema = kind(
        {
            "folder": ["STRING", {"default": "[date]"}],
            "prefix": ["STRING", {"default": "x"}],
            "delimiter": ["STRING", {"default": "_"}],
            "format": [["png", "jpg"]],
            "quality": ["INT", {"default": 90, "max": 100}],
        }
    )
    sent = inputs_of(["./out", "cat", "jpg", 80], schema)
    assert list(sent.values()) == ["./out", "cat", "_", "jpg", 80]


SOURCE = kind({}, ("INT", "INT"))


def test_sockets_of_widgets_that_the_class_lacks_are_dropped_as_the_editor_drops_them() -> None:
    """It walks the list while it removes: the one behind a removed socket stays."""
    names = ["width", "height", "depth"]
    sockets = [linked(name, i, widget=True) for i, name in enumerate(names, 1)]
    links = [[i, 9, 0, 1, i - 1, "INT"] for i in (1, 2, 3)]
    types = {"One": kind({"image?": ["IMAGE", {}]}), "Source": SOURCE}
    result = converted([node(1, "One", [], sockets), node(9, "Source")], links, types)
    assert result.prompt["1"]["inputs"] == {"height": ["9", 0]}
    assert [name for name in names if any(f"'{name}'" in n for n in result.important)] == names


def test_a_link_that_only_the_list_of_links_has_goes_by_the_files_names() -> None:
    sockets = [linked("model", 1), linked("image", None)]
    links = [[1, 8, 0, 1, 0, "INT"], [2, 9, 0, 1, 1, "INT"]]
    schema = kind({"image": ["INT", {"forceInput": True}], "model": ["INT", {"forceInput": True}]})
    types = {"One": schema, "Source": SOURCE}
    nodes = [node(1, "One", [], sockets), node(8, "Source"), node(9, "Source")]
    assert converted(nodes, links, types).prompt["1"]["inputs"] == {
        "model": ["8", 0],
        "image": ["9", 0],
    }


def drawn(*, to: Raw, controller: Raw) -> list[Raw]:
    return [to, controller, node(9, "Source")]


def test_a_node_that_draws_links_is_sent_if_the_server_has_its_class() -> None:
    everywhere = node(5, "Everywhere", [], [linked("anything", 1, "INT")])
    target = node(1, "One", [], [linked("a", None)])
    entry = {"downstream": 1, "downstream_slot": 0, "upstream": 9, "upstream_slot": 1}
    extra = {"ue_links": [{**entry, "controller": 5}]}
    types = {
        "One": kind({"a": ["INT", {"forceInput": True}]}),
        "Source": SOURCE,
        "Everywhere": kind({"anything?": ["*", {}]}, (), output_node=False),
    }
    nodes, links = drawn(to=target, controller=everywhere), [[1, 9, 1, 5, 0, "INT"]]
    prompt = converted(nodes, links, types, extra=extra).prompt
    assert prompt["1"]["inputs"] == {"a": ["9", 1]}
    assert prompt["5"]["inputs"] == {"anything": ["9", 1]}
    del types["Everywhere"]
    assert "5" not in converted(nodes, links, types, extra=extra).prompt


def test_unknown_inputs_for_anything_of_a_class_that_never_runs_are_not_sent() -> None:
    everywhere = node(5, "Everywhere", [], [linked("MODEL", 1, "*")])
    types = {"Source": SOURCE, "Everywhere": kind({"anything?": ["*", {}]}, (), output_node=False)}
    links = [[1, 9, 1, 5, 0, "*"]]
    result = converted([everywhere, node(9, "Source")], links, types)
    assert result.prompt["5"]["inputs"] == {}
    assert "'MODEL'" in result.important[0]


def test_links_are_drawn_inside_subgraphs_too() -> None:
    everywhere = node(5, "Everywhere", [], [linked("anything", 1, "INT")])
    inner = {
        "id": "sub",
        "name": "inside",
        "nodes": [node(1, "One", [], [linked("a", None)]), everywhere],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 5, "target_slot": 0},
        ],
        "inputs": [{"name": "value", "type": "INT", "linkIds": [1]}],
        "outputs": [],
        "extra": {
            "ue_links": [
                {
                    "downstream": 1,
                    "downstream_slot": 0,
                    "upstream": -10,
                    "upstream_slot": 0,
                    "controller": 5,
                }
            ]
        },
    }
    types = {"One": kind({"a": ["INT", {"forceInput": True}]}), "Source": SOURCE}
    nodes = [node(7, "sub", [], [linked("value", 3)]), node(9, "Source")]
    prompt = converted(
        nodes, [[3, 9, 0, 7, 0, "INT"]], types, definitions={"subgraphs": [inner]}
    ).prompt
    assert prompt["7:1"]["inputs"] == {"a": ["9", 0]}
    assert "7:5" not in prompt


def test_values_of_a_group_node_that_were_made_inputs_come_last() -> None:
    sampler = {
        **node(0, "Sampler", [1, "fixed", 20], [linked("seed", None, widget=True)]),
        "index": 0,
    }
    after = {**node(1, "One", [4], [linked("value", None)]), "index": 1}
    types = {
        "Sampler": kind({"seed": ["INT", {}], "steps": ["INT", {}]}),
        "One": kind({"value": ["INT", {"forceInput": True}], "b": ["INT", {}]}),
        "Source": SOURCE,
    }
    group = node(
        3,
        "workflow>pair",
        [25, 9, 77, "randomize"],
        [linked("value", 1), linked("seed", None, widget=True)],
    )
    result = converted(
        [group, node(9, "Source")],
        [[1, 9, 0, 3, 0, "INT"]],
        types,
        extra={"groupNodes": {"pair": {"nodes": [sampler, after], "links": []}}},
    )
    inner = {n["class_type"]: n["inputs"] for i, n in result.prompt.items() if ":" in i}
    assert inner["Sampler"] == {"seed": 77, "steps": 25}
    assert inner["One"] == {"value": ["9", 0], "b": 9}


def test_a_promoted_widget_without_a_socket_takes_the_value_of_its_subgraph() -> None:
    inner = {
        "id": "sub",
        "name": "inside",
        "nodes": [node(1, "One", [64], [linked("width", 1, widget=True)])],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
        ],
        "inputs": [{"name": "width", "type": "INT", "linkIds": [1]}],
        "outputs": [],
    }
    types = {"One": kind({"width": ["INT", {"socketless": True}]})}
    nodes = [node(7, "sub", [512], [linked("width", None, widget=True)])]
    prompt = converted(nodes, [], types, definitions={"subgraphs": [inner]}).prompt
    assert prompt["7:1"]["inputs"] == {"width": 512}


def test_rows_of_loras_are_sent_under_their_numbers() -> None:
    """Each row is an object in the list of values; a strength that is not set is not sent."""
    first = {"on": True, "lora": "ink.safetensors", "strength": 0.5, "strengthTwo": None}
    second = {"on": False, "lora": "old.safetensors", "strength": 1, "strengthTwo": 0.2}
    values = [{}, {"type": "Header"}, first, second, {}, ""]
    sent = inputs_of(values, kind({"model?": ["MODEL", {}]}))
    assert sent == {
        "lora_1": {"on": True, "lora": "ink.safetensors", "strength": 0.5},
        "lora_2": second,
    }


FORMATS = {
    "film/a": [["crf", "INT", {"default": 19}], ["pixels", ["small", "large"]], "damaged", ["x"]],
    "film/b": [["lossless", "BOOLEAN", {"default": True}]],
    "film/c": {"rate": 8},
}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"format": "film/a", "crf": 8, "shown": {}}, {"crf": 8, "pixels": "small"}),
        ({"format": "film/b"}, {"lossless": True}),
        (["film/a"], {"crf": 19, "pixels": "small"}),
        (["film/c"], {}),
        ([["film/a"]], {}),
    ],
)
def test_the_inputs_that_a_choice_adds_are_sent(values: Any, expected: Any) -> None:
    """The schema lists them with the choices."""
    sent = inputs_of(values, kind({"format": [list(FORMATS), {"formats": FORMATS}]}))
    assert {name: value for name, value in sent.items() if name != "format"} == expected


def test_a_link_to_an_input_that_a_choice_adds_stays() -> None:
    sockets = [linked("crf", 1, widget=True), linked("pixels", None, widget=True)]
    types = {"One": kind({"format": [list(FORMATS), {"formats": FORMATS}]}), "Source": SOURCE}
    nodes = [node(1, "One", {"format": "film/a"}, sockets), node(9, "Source")]
    result = converted(nodes, [[1, 9, 0, 1, 0, "INT"]], types)
    assert result.prompt["1"]["inputs"] == {"format": "film/a", "crf": ["9", 0], "pixels": "small"}
    assert result.important == ()


@pytest.mark.parametrize("left", [None, "", "image", "randomize", "/view?filename=a.png", ["x"]])
def test_a_value_without_a_widget_is_told_if_it_may_matter(left: Any) -> None:
    types = {"One": kind({"a": ["INT", {}]})}
    (sentence,) = converted([node(1, "One", [1, "flow"])], [], types).important
    assert "1 (One)" in sentence
    assert '"flow"' in sentence
    assert converted([node(1, "One", [1, left])], [], types).important == ()
    muted = {**node(1, "One", [1, "flow"]), "mode": 2}
    assert converted([muted, node(2, "One", [1])], [], types).important == ()


def test_a_list_of_an_older_version_says_where_its_size_is() -> None:
    types = {"film": ["STRING", {}], "custom_width": NUMBER, "custom_height": NUMBER}
    schema = kind({**types, "cap": NUMBER, "every": ["INT", {"default": 1, "min": 1}]})
    sent = inputs_of(["a.mp4", "Disabled", 90, "video"], schema)
    assert list(sent.values()) == ["a.mp4", 0, 0, 90, 1]
    assert list(inputs_of(["a.mp4", 8, 9, 90, 2], schema).values()) == ["a.mp4", 8, 9, 90, 2]


def set_and_get(first: int, name: str, source: int, **more: Any) -> list[Raw]:
    """A "Set" node with the link ``source`` and a "Get" node with the next id."""
    return [
        node(first, "SetIt", [name], [linked("value", source)]) | more,
        node(first + 1, "GetIt", [name]) | more,
    ]


def test_a_name_is_looked_up_in_the_nearest_graph_that_sets_it() -> None:
    def inside(key: str, first: int, source: int) -> Raw:
        nodes = [
            *set_and_get(first, "x", 1),
            node(source, "Source"),
            node(first + 2, "One", [], [linked("a", 2)]),
        ]
        ends = [(1, source, first), (2, first + 1, first + 2)]
        links = [
            {"id": i, "origin_id": a, "origin_slot": 0, "target_id": b, "target_slot": 0}
            for i, a, b in ends
        ]
        return {"id": key, "name": key, "nodes": nodes, "links": links}

    types = {"One": kind({"a": ["INT", {"forceInput": True}]}), "Source": SOURCE}
    subgraphs = [inside("sub1", 10, 13), inside("sub2", 20, 23)]
    definitions = {"subgraphs": subgraphs}
    nodes = [node(1, "sub1"), node(2, "sub2")]
    prompt = converted(nodes, [], types, definitions=definitions).prompt
    assert set(prompt) == {"1:12", "1:13", "2:22", "2:23"}
    assert prompt["1:12"]["inputs"] == {"a": ["1:13", 0]}
    assert prompt["2:22"]["inputs"] == {"a": ["2:23", 0]}


def test_setters_and_getters_without_a_partner_leave_the_prompt() -> None:
    types = {"One": kind({"a?": ["INT", {"forceInput": True}]}), "Source": SOURCE}
    alone = [
        node(5, "SetIt", ["unread"], [linked("value", 3)]),
        node(6, "GetIt", ["unset"]),
        node(7, "One", [], [linked("a", 4)]),
    ]
    links = [[1, 9, 0, 1, 0, "INT"], [3, 9, 0, 5, 0, "INT"], [4, 6, 0, 7, 0, "INT"]]
    nodes = [*set_and_get(1, "x", 1), *alone, node(9, "Source")]
    prompt = converted(nodes, links, types).prompt
    assert set(prompt) == {"7", "9"}
    assert prompt["7"]["inputs"] == {}
    named = {**alone[0], "properties": {"previousName": "old"}}
    assert set(converted([named, node(9, "Source")], links, types).prompt) == {"9"}


def test_a_switch_that_has_another_name_now_keeps_its_value() -> None:
    switch = ["BOOLEAN", {"default": True}]
    types = {"save_output": switch, "loop": ["INT", {}]}
    assert inputs_of({"save_image": False, "loop": 1}, kind(types))["save_output"] is False
    for other in ({"mirror": False}, {"save_image": False, "save_text": False}):
        assert inputs_of({**other, "loop": 1}, kind(types))["save_output"] is True
    formats = {"a": [["save_data", "BOOLEAN", {}]]}
    types |= {"format": [["a"], {"formats": formats}]}
    sent = inputs_of({"format": "a", "save_data": True, "save_image": False}, kind(types))
    assert (sent["save_output"], sent["save_data"]) == (False, True)
