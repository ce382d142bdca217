"""Images inside the response."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from comfyui_pipeline.media import previews
from tests.media.input_folder import png


def test_previews_are_small_and_share_the_limit(tmp_path: Path) -> None:
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
    full = previews.build_previews(files[:2], full=True)
    assert full.reduced >= 1
    small = tmp_path / "small.png"
    small.write_bytes(png())
    assert (
        previews.build_previews([small], full=True)
        .uris[0]
        .endswith(base64.b64encode(png()).decode())
    )


def test_a_file_that_is_not_an_image_has_no_preview(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not one")
    assert previews.build_previews([tmp_path / "x.png"], full=False) == previews.Previews((), 0, 1)


def test_a_preview_has_at_most_768_pixels_per_side(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    for size, expected in (((2000, 1000), (768, 384)), ((1000, 2000), (384, 768))):
        Image.new("RGB", size, (9, 9, 9)).save(file)
        (uri,) = previews.build_previews([file], full=False).uris
        assert uri.startswith("data:image/webp;base64,")
        shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert shown.size == expected
