"""Pictures inside the answer."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from comfyui_pipeline.media import previews
from tests.media.shelf import png


def test_previews_stay_small_and_share_what_there_is(tmp_path: Path) -> None:
    noise = Image.effect_noise((1000, 700), 90).convert("RGB")
    files = []
    for number in range(8):
        files.append(tmp_path / f"{number}.png")
        noise.save(files[-1])
    shown = previews.build_previews(files, full=False)
    assert len(shown.uris) == 8
    assert sum(map(len, shown.uris)) <= previews.MAX_CHARACTERS + 400
    first = Image.open(io.BytesIO(base64.b64decode(shown.uris[0].partition(",")[2])))
    assert (first.format, max(first.size) <= 768) == ("WEBP", True)
    whole = previews.build_previews(files[:2], full=True)
    assert whole.reduced >= 1
    small = tmp_path / "small.png"
    small.write_bytes(png())
    assert (
        previews.build_previews([small], full=True)
        .uris[0]
        .endswith(base64.b64encode(png()).decode())
    )


def test_a_file_that_is_no_picture_is_left_out_of_the_answer(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not one")
    assert previews.build_previews([tmp_path / "x.png"], full=False) == previews.Previews((), 0, 1)
