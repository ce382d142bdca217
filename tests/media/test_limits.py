"""Size limits of inputs and previews."""

from __future__ import annotations

from typing import get_args

from comfyui_pipeline.media import (
    file_limits,
    file_types,
    inline_data,
    previews,
)


def test_limits_of_inputs_and_previews() -> None:
    assert file_limits.MAX_IMAGE_BYTES == 50 * 2**20
    assert file_limits.MAX_FILE_BYTES == 200 * 2**20
    assert inline_data.MAX_BYTES == 50 * 2**20
    names = {kind: file_limits.setting_of(kind) for kind in get_args(file_types.InputKind)}
    images = {kind for kind, name in names.items() if name == "COMFYUI_MAX_IMAGE_MB"}
    assert images == {"image", "animation", "mask"}
    assert (previews.MAX_COPY_BYTES, previews.MAX_CHARACTERS, previews.MAX_IMAGES) == (
        200 * 1024,
        2**20,
        20,
    )
    assert (previews.SMALL[0], previews.LARGE[0]) == ((768, 82), (4096, 90))
