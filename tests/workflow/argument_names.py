"""200 plausible keys of callers x 5 workflows: ``python -m tests.workflow.argument_names`` prints it.

Each key is tried with a value in each workflow, up to the queue. It is *applied* if the job or the
way it is performed differs from that of the call without it, *refused* if the error names the key,
*reported* if a sentence of the answer does, else *ignored*.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from comfyui_pipeline import call as tool_call
from comfyui_pipeline import prepare
from comfyui_pipeline.argument_keys import find
from comfyui_pipeline.arguments import BY_NAME
from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.settings import Settings
from input_server.light_dataclasses import fields
from tests.media.input_folder import png
from tests.workflow.offline_calls import StubServer, context_of, settings_in

DATA = Path(__file__).resolve().parents[1] / "data" / "argument_names"
WORKFLOWS = {"T": "text2img", "I": "img2img", "E": "edit", "V": "video", "M": "music"}
FILES = {
    "T": (),
    "I": ("image", "mask"),
    "E": ("image1", "image2"),
    "V": ("start_image", "end_image"),
}
"""Files that a call of the workflow gives besides the key that is tried."""
KEYS = """
prompt a castle *
positive_prompt a castle *
Prompt a castle *
text a castle *
提示词 a castle *
正面提示词 a castle *
正向提示詞 a castle *
description a castle *
caption a castle *
positive a castle *
user_prompt a castle *
textPrompt a castle *
描述 a castle *
instruction a castle *
negative_prompt water TIEV
negativePrompt water TIEV
Negative-Prompt water TIEV
negative water TIEV
neg_prompt water TIEV
负面提示词 water TIEV
反向提示词 water TIEV
负向提示詞 water TIEV
seed 7 *
noise_seed 7 *
Seed 7 *
种子 7 *
随机种子 7 *
random_seed 7 *
steps 12 *
num_inference_steps 12 *
sampling_steps 12 *
步数 12 *
num_steps 12 *
ｓｔｅｐｓ １２ *
cfg 3 *
cfg_scale 3 *
CFG 3 *
CFG Scale 3 *
guidance 3 *
guidance_scale 3 *
guidanceScale 3 *
引导系数 3 *
sampler dpmpp_2m *
sampler_name dpmpp_2m *
采样器 dpmpp_2m *
scheduler karras *
调度器 karras *
denoise 0.4 *
denoising_strength 0.4 *
strength 0.4 I
denoise_strength 40% *
重绘幅度 0.4 *
prompt_strength 0.4 *
clip_skip 2 T
clipSkip 2 T
CLIP_stop_at_last_layers 2 T
width 640 TEV
Width 640 TEV
宽度 640 TEV
image_width 640px TEV
height 640 TEV
高度 640 TEV
HEIGHT 640 TEV
size 640x448 TEV
resolution 640*448 TEV
image_size 640x448 TEV
尺寸 640x448 TEV
分辨率 640x448 TEV
imageSize square TEV
dimensions 640,448 TEV
aspect_ratio 16:9 TEV
aspectRatio 16:9 TEV
ratio 16:9 TEV
ar 16:9 TEV
宽高比 16:9 TEV
比例 9:16 TEV
orientation 横图 TEV
batch_size 3 TEVM
n 3 TEVM
count 3 TEVM
num_images 3 TEVM
numberOfImages 3 TEVM
num_outputs 3 TEVM
num_images_per_prompt 3 TEVM
数量 3 TEVM
张数 3张 TEVM
batch 3 TEVM
n_iter 3 TEVM
checkpoint anime TIM
model anime TIM
ckpt anime TIM
ckpt_name anime TIM
model_name anime TIM
模型 anime TIM
大模型 anime TIM
base_model anime TIM
sd_model_checkpoint anime TIM
unet_name wan EV
diffusion_model wan EV
vae other TEV
vae_name other TEV
lora detail T
loras detail:0.6 T
lora_name detail T
lora1 detail T
LoRA detail T
lora_strength 0.6 T
lora_weight 0.6 T
lora_scale 0.6 T
lora权重 0.6 T
controlnet depth I
control_net_name depth I
controlnet_model depth I
controlnet_strength 0.5 I
controlnet_conditioning_scale 0.5 I
control_weight 0.5 I
control_image cat.png I
controlnet_image cat.png I
upscale_model x2 I
upscaler x2 I
放大模型 x2 I
scale 2 I
upscale 3 I
upscale_by 2 I
scale_factor 2x I
放大倍数 2倍 I
image cat.png I
image_url cat.png I
image_base64 cat.png I
init_image cat.png I
input_image cat.png I
imageUrl cat.png I
source_image cat.png I
图片 cat.png I
参考图 cat.png I
reference_image cat.png I
img cat.png I
images cat.png,dog.png E
image_urls cat.png,dog.png E
input_images cat.png,dog.png E
reference_images cat.png,dog.png E
imageList cat.png,dog.png E
image1 cat.png IE
image_1 cat.png IE
图片1 cat.png IE
mask white.png I
mask_image white.png I
mask_url white.png I
遮罩 white.png I
蒙版 white.png I
inpaint_mask white.png I
start_image cat.png V
first_frame cat.png V
first_frame_image cat.png V
start_frame cat.png V
首帧 cat.png V
end_image cat.png V
last_frame cat.png V
tail_image cat.png V
尾帧 cat.png V
audio sound.mp3 V
audio_url sound.mp3 V
音频 sound.mp3 V
duration 3 VM
seconds 3 VM
duration 3s VM
durationSeconds 3 VM
时长 3秒 VM
video_length 3 VM
length 3s VM
length 49 V
frames 49 V
num_frames 49 V
帧数 49 V
fps 24 V
frame_rate 24 V
帧率 24 V
lyrics hello M
歌词 hello M
tags rock M
genre rock M
曲风 rock M
filename_prefix hero *
filename hero *
fileName hero *
文件名 hero *
folder heroes *
output_folder heroes *
subfolder heroes *
output Save *
output_node Save *
only Save *
dry_run true *
validate_only true *
dryRun true *
timeout 30 *
timeout_seconds 30 *
wait 20 *
async true *
format webp TIE
output_format webp TIE
格式 webp TIE
quality 80 TIE
output_quality 80 TIE
metadata none TIE
webhook_url http://127.0.0.1:9/x *
callback_url http://127.0.0.1:9/x *
job_id mine *
idempotency_key mine *
return_image none *
showbase64 true *
response_format b64_json *
previews true *
strict true *
on_timeout cancel *
max_side 512 *
weight_dtype fp8_e4m3fn EV
scale_by 0.75 I
channel green I
upscale_method bicubic I
lyrics_strength 0.5 M
start_percent 0.2 I
end_percent 0.8 I
stop_at_clip_layer -2 T
strength_clip 0.5 T
Sampler {"steps":12} *
5.steps 12 TM
inputs {"steps":12} *
parameters {"steps":12} *
arguments {"steps":12} *
overrides {"steps":12} *
set steps=12 *
params {"steps":12} *
options {"cfg":3} *
stile ink
style ink
style_preset anime
user alice
background transparent
moderation low
safety_tolerance 3
enhance_prompt true
magic_prompt true
hires_fix true
restore_faces true
tiling true
chaos 20
stylize 250
promtp a castle
heigth 640
negatve_prompt water
camera_motion zoom
voice alloy
bpm 120
private true
output_bucket mine
高清 true
水印 false
风格 水墨
心情 happy
"""
"""A key, a value, and the workflows in which it means something (``*``: all)."""


def rows() -> Iterator[tuple[str, str, str]]:
    """Key, value and the letters of the workflows in which the key means something."""
    for line in KEYS.strip().splitlines():
        *words, last = line.split(" ")
        letters = "".join(WORKFLOWS) if last == "*" else last
        if not set(letters) <= WORKFLOWS.keys():
            words, letters = [*words, last], ""
        key = words[0] if words[0] != "CFG" or words[1] != "Scale" else "CFG Scale"
        yield key, " ".join(words)[len(key) + 1 :], letters


@cache
def schemas() -> Mapping[str, Any]:
    return json.loads((DATA / "schemas.json").read_text("utf-8"))  # type: ignore[no-any-return]


class Server(StubServer):
    """Has the node types of the five workflows."""

    def schemas(self, names: Any) -> dict[str, Any]:
        return {name: schemas()[name] for name in names if name in schemas()}

    def catalog(self) -> Mapping[str, Any]:
        return schemas()


def installation(folder: Path) -> Settings:
    """Settings with the five workflows and some attachments."""
    chosen = settings_in(folder)
    for name in ("photo", "mask", "cat", "dog", "white", "first", "last"):
        (folder / "attachments" / f"{name}.png").write_bytes(png(color=(255, 255, 255)))
    (folder / "attachments" / "sound.mp3").write_bytes(b"ID3\x04" + bytes(2000))
    return chosen


def outcome(key: str, value: str, letter: str, chosen: Settings) -> tuple[str, str]:
    """What becomes of a key: ``applied``, ``refused``, ``reported`` or ``ignored``, and the sentence."""
    base = _base(key, letter)
    plain = _plain(json.dumps(base), str(chosen.attachments_dir.parent))
    given = _run({**base, key: value}, chosen)
    argument = find(key)[0] or BY_NAME["prompt"]
    if isinstance(given, ToolError):
        caused = not isinstance(plain, ToolError) or argument.name in str(given)
        return ("refused" if caused else "ignored"), str(given)
    sentences = [*given["important"], *given["notes"]]
    if isinstance(plain, ToolError) or given["state"] != plain["state"] or key in given["keys"]:
        return "applied", ""
    named_in = [sentence for sentence in sentences if key in sentence]
    return ("reported", named_in[0]) if named_in else ("ignored", "")


def _base(key: str, letter: str) -> dict[str, Any]:
    workflow = json.loads((DATA / f"{WORKFLOWS[letter]}.json").read_text("utf-8"))
    argument, number = find(key)
    call: dict[str, Any] = {"workflow_json": workflow}
    if argument is None or argument.name != "seed":
        call["seed"] = "1"
    for place, name in enumerate(FILES.get(letter, ())):
        replaced = argument is not None and (
            argument.name == name or (argument.role == "image" and name.startswith("image"))
        )
        if not replaced or (number and name != f"image{number}"):
            call[name] = ("photo.png", "mask.png")[place]
    return call


@cache
def _plain(call: str, folder: str) -> Any:
    return _run(json.loads(call), settings_in(Path(folder)))


def _run(call: Mapping[str, Any], chosen: Settings) -> Any:
    try:
        read = tool_call.parse(json.dumps(call).encode())
        context = context_of(read, chosen)
        job = prepare.prepare(_with_server(context))
    except ToolError as error:
        return error
    skipped = {"shortcuts", "extras", "spelled", "unknown", "ignored", "item_keys", "workflow_json"}
    performed = {
        one.name: repr(getattr(read, one.name))
        for one in fields(read)  # type: ignore[arg-type]
        if one.name not in skipped
    }
    state = (json.dumps(job.job.prompt, sort_keys=True), performed)
    keys = {change.key or change.argument for change in job.changes}
    return {
        "state": state,
        "keys": keys,
        "important": job.important,
        "notes": (*job.notes, *job.guesses),
    }


def _with_server(context: Any) -> Any:
    from input_server.light_dataclasses import replace

    return replace(context, engine=Server())


def table(chosen: Settings) -> list[tuple[str, str, str, dict[str, tuple[str, str]]]]:
    """Key, value, letters and the outcome in each workflow."""
    return [
        (key, value, letters, {w: outcome(key, value, w, chosen) for w in WORKFLOWS})
        for key, value, letters in rows()
    ]


def printed(found: list[tuple[str, str, str, dict[str, tuple[str, str]]]]) -> str:
    """The table, and how many of the meaningful ones were applied."""
    lines = [f"{'key':28}{'value':20}" + "".join(f"{name:11}" for name in WORKFLOWS.values())]
    meaningful, applied = 0, 0
    for key, value, letters, outcomes in found:
        cells = []
        for letter, (kind, _) in outcomes.items():
            means = letter in letters
            meaningful += means
            applied += means and kind == "applied"
            cells.append(f"{kind}{'' if means else '.'}".ljust(11))
        lines.append(f"{key:28}{value[:18]:20}{''.join(cells)}")
    lines.append(
        f"{applied} of {meaningful} meaningful ones applied (those with . mean nothing there)"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        result = table(installation(Path(folder)))
        sys.stdout.write(printed(result) + "\n")
        for key, _, letters, outcomes in result:
            for letter, (kind, sentence) in outcomes.items():
                if kind == "ignored" or (letter in letters and kind != "applied"):
                    sys.stdout.write(f"{key} in {WORKFLOWS[letter]}: {kind} {sentence[:200]}\n")
