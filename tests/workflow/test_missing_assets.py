"""Models that the server lacks, and files that nobody has given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import complete
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.load_workflow import LoadedWorkflow
from comfyui_pipeline.settings import DefaultValues
from comfyui_pipeline.workflow import files, model_names, patch, required_files, validate
from comfyui_pipeline.workflow.changes import Origin, Plan, Planner
from comfyui_pipeline.workflow.graph import Target

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
SHIPPED_NAME = "v1-5-pruned-emaonly-fp16.safetensors"


@pytest.fixture
def load(schemas: Mapping[str, Any]) -> Any:
    def loaded(
        name: str,
        checkpoints: Sequence[str],
        images: Sequence[str] = ("example.png",),
        **inputs: Any,
    ) -> LoadedWorkflow:
        found = files.load(WORKFLOWS, inputs.pop("file", name))
        prompt = {i: {**n, "inputs": dict(n["inputs"])} for i, n in (found.nodes or {}).items()}
        for key, value in inputs.items():
            node_id, _, input_name = key.removeprefix("node").partition("_")
            prompt[node_id]["inputs"][input_name] = value
        known = {
            kind: _with_choices(schemas[kind], {"ckpt_name": checkpoints, "image": images})
            for kind in {node["class_type"] for node in prompt.values()}
        }
        return LoadedWorkflow(name, prompt, None, known, frozenset(), (), validate.NO_ORIGIN)

    return loaded


def _with_choices(schema: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    required = dict(schema["input"]["required"])
    for name, choices in names.items():
        if name in required and isinstance(required[name][0], list):
            required[name] = [list(choices), *required[name][1:]]
    return {**schema, "input": {**schema["input"], "required": required}}


def completed(
    loaded: LoadedWorkflow, defaults: DefaultValues | None = None, *, strict: bool = False
) -> tuple[dict[str, Any], Plan]:
    """The prompt as it would be queued, and the plan."""
    changed, plan = complete.complete(loaded, Plan(()), defaults or DefaultValues(), strict=strict)
    return patch.apply(changed.prompt, plan.changes), plan


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (SHIPPED_NAME, "SD1.5"),
        ("SD 1.5/dream.safetensors", "SD1.5"),
        ("juggernautXL_v9.safetensors", "SDXL"),
        ("ponyDiffusionV6XL.safetensors", "SDXL"),
        ("sd3.5_large.safetensors", "SD3"),
        ("v2-1_768-ema-pruned.ckpt", "SD2"),
        ("fluxDevFp8.safetensors", "Flux"),
        ("ZImageTurbo.safetensors", "Z-Image"),
        ("SD15/flux1-dev.safetensors", "Flux"),
        ("swan_v1_5.safetensors", ""),
        ("foo_v2_0.safetensors", ""),
    ],
)
def test_the_family_of_a_model_is_read_from_its_name_then_its_folder(
    name: str, family: str
) -> None:
    assert model_names.family(name) == family


@pytest.mark.parametrize(
    "saved", [r"SD15\dream.safetensors", "other/Dream.ckpt", "dream", "DREAM.safetensors"]
)
def test_a_saved_name_matches_the_same_file_in_another_folder_case_or_format(
    load: Any, saved: str
) -> None:
    loaded = load(
        "mine", ["a/dream.safetensors", "b.ckpt"], file="text2img_api", node4_ckpt_name=saved
    )
    prompt, plan = completed(loaded)
    assert prompt["4"]["inputs"]["ckpt_name"] == "a/dream.safetensors"
    assert saved.replace("\\", "\\\\") in plan.guesses[0]
    assert not plan.important


def test_two_files_of_the_saved_name_are_left_to_the_caller(load: Any) -> None:
    both = ["a/dream.safetensors", "b/dream.safetensors"]
    loaded = load("mine", both, file="text2img_api", node4_ckpt_name="dream.ckpt")
    assert completed(loaded)[0]["4"]["inputs"]["ckpt_name"] == "dream.ckpt"


@pytest.mark.parametrize(
    ("checkpoints", "chosen"),
    [
        (["only.safetensors"], "only.safetensors"),
        (["x/sdxl.safetensors", "SD15/dream.safetensors"], "SD15/dream.safetensors"),
        (["flux1-dev.safetensors"], SHIPPED_NAME),
    ],
    ids=["the only one", "the one of the family", "none of another family"],
)
def test_a_shipped_workflow_uses_the_checkpoint_that_fits(
    load: Any, checkpoints: list[str], chosen: str
) -> None:
    prompt, plan = completed(load("text2img_api", checkpoints))
    assert prompt["4"]["inputs"]["ckpt_name"] == chosen
    assert bool(plan.important) == (chosen != SHIPPED_NAME)
    assert all(SHIPPED_NAME in text and chosen in text for text in plan.important)


def test_a_users_workflow_gets_another_model_only_if_no_other_fits(load: Any) -> None:
    several = load("mine", ["one.safetensors", "two.safetensors"], file="text2img_api")
    assert completed(several)[0]["4"]["inputs"]["ckpt_name"] == SHIPPED_NAME
    one = load("mine", ["one.safetensors"], file="text2img_api")
    assert completed(one)[0]["4"]["inputs"]["ckpt_name"] == "one.safetensors"


def test_strict_uses_no_other_model(load: Any) -> None:
    prompt, plan = completed(load("text2img_api", ["only.safetensors"]), strict=True)
    assert prompt["4"]["inputs"]["ckpt_name"] == SHIPPED_NAME
    assert not plan.changes


def test_the_checkpoint_of_the_settings_is_used_for_shipped_workflows(load: Any) -> None:
    defaults = DefaultValues(checkpoint="two")
    names = [SHIPPED_NAME, "two.safetensors"]
    assert (
        completed(load("text2img_api", names), defaults)[0]["4"]["inputs"]["ckpt_name"] == names[1]
    )
    mine = load("mine", names, file="text2img_api")
    assert completed(mine, defaults)[0]["4"]["inputs"]["ckpt_name"] == SHIPPED_NAME


def test_a_change_of_the_call_is_not_replaced(load: Any) -> None:
    loaded = load("text2img_api", ["one.safetensors", "two.safetensors"])
    planner = Planner(loaded.graph, strict=False)
    planner.set(Target(loaded.graph.nodes["4"], "ckpt_name"), "two", Origin.ARGUMENT, "checkpoint")
    _, plan = complete.complete(
        loaded, planner.plan(()), DefaultValues(checkpoint="one"), strict=False
    )
    assert [change.value for change in plan.changes] == ["two.safetensors"]


def test_texts_of_the_settings_complete_shipped_workflows_only() -> None:
    defaults = DefaultValues(loras=("ink",), negative_prompt="ugly", quality_tags="sharp")
    assert complete.with_default_texts("text2img_api", {"prompt": "a fox"}, defaults) == {
        "prompt": "a fox, sharp",
        "negative_prompt": "ugly",
    }
    given = {"prompt": "a fox", "negative_prompt": "", "loras": ("own",)}
    assert complete.with_default_texts("text2img_api", given, defaults) == {
        **given,
        "prompt": "a fox, sharp",
    }
    assert complete.with_default_texts("mine", {"prompt": "a fox"}, defaults) == {"prompt": "a fox"}


@pytest.mark.parametrize(
    ("workflow", "arguments"),
    [("img2img_api", ["image"]), ("inpaint_api", ["image", "mask"]), ("text2img_api", [])],
)
def test_a_placeholder_image_is_required_from_the_caller(
    load: Any, workflow: str, arguments: list[str]
) -> None:
    missing = required_files.missing_files(load(workflow, [SHIPPED_NAME]).graph)
    assert [file.argument for file in missing] == arguments


@pytest.mark.parametrize(
    ("value", "is_missing"),
    [
        ("", True),
        ("Example.PNG", True),
        ("gone.png", True),
        ("mine.png", False),
        ("sub/gone.png", False),
        ("gone.png [output]", False),
    ],
)
def test_a_file_is_missing_unless_the_server_has_it_or_checks_it_itself(
    load: Any, value: str, is_missing: bool
) -> None:
    loaded = load("img2img_api", [SHIPPED_NAME], ["mine.png"], node10_image=value)
    assert bool(required_files.missing_files(loaded.graph)) == is_missing


def test_a_missing_file_stops_the_call_and_names_its_argument(load: Any) -> None:
    with pytest.raises(PatchError, match='needs "image"') as raised:
        completed(load("img2img_api", [SHIPPED_NAME]))
    assert raised.value.code == "file_required"
