"""Size limits of inputs and previews."""

from __future__ import annotations

from comfyui_pipeline.media import (
    file_types,
    inline_data,
    previews,
)


def test_limits_of_inputs_and_previews() -> None:
    assert file_types.MAX_IMAGE_BYTES == 50 * 2**20
    assert file_types.MAX_FILE_BYTES == 200 * 2**20
    assert inline_data.MAX_BYTES == 50 * 2**20
    assert file_types.MAX_BYTES["mask"] == file_types.MAX_BYTES["animation"] == 50 * 2**20
    assert file_types.MAX_BYTES["video"] == file_types.MAX_BYTES["file"] == 200 * 2**20
    assert (previews.MAX_COPY_BYTES, previews.MAX_CHARACTERS, previews.MAX_IMAGES) == (
        200 * 1024,
        2**20,
        20,
    )
    assert (previews.SMALL[0], previews.LARGE[0]) == ((768, 82), (4096, 90))
