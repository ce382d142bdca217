"""A mask repaints the same whatever channel a workflow reads it from."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

SIZE = (40, 20)
LEFT = (0, 0, 20, 20)


def uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def loader(how: str) -> dict[str, Any]:
    """Nodes that load a mask, which is the first output of node ``m``."""
    if how == "image":
        return {
            "l": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
            "m": {"class_type": "ImageToMask", "inputs": {"image": ["l", 0], "channel": "green"}},
        }
    inputs = {"image": "example.png", "channel": how}
    return {"m": {"class_type": "LoadImageMask", "inputs": inputs}}


@pytest.mark.parametrize("how", ["alpha", "red", "image"])
@pytest.mark.parametrize("kind", ["white", "opaque"])
def test_white_or_opaque_is_repainted(ready: Any, how: str, kind: str) -> None:
    mask = Image.new("RGBA", SIZE, (0, 0, 0, 255 if kind == "white" else 0))
    mask.paste((255, 255, 255, 255) if kind == "white" else (0, 0, 0, 255), LEFT)
    shown = {"class_type": "MaskToImage", "inputs": {"mask": ["m", 0]}}
    saver = {"class_type": "SaveImage", "inputs": {"images": ["s", 0], "filename_prefix": "m"}}
    name = ready.workflow("reads_mask", {**loader(how), "s": shown, "o": saver})
    answered = ready.call({"workflow": name, "mask": uri(mask)})
    image = Image.open(answered.result["outputs"][0]["path"]).convert("L")
    assert (image.getpixel((5, 5)), image.getpixel((35, 5))) == (255, 0)
    assert f"was converted to a mask of its {kind} areas" in answered.text
    empty = ready.call({"workflow": name, "mask": uri(Image.new("L", SIZE))}).json
    assert "is empty" in empty["error"]
    assert "prompt_id" not in str(empty)


def test_an_image_that_is_its_own_mask_is_repainted_where_it_is_transparent(ready: Any) -> None:
    """As ComfyUI reads it: its opaque areas are the picture."""
    image = Image.new("RGBA", SIZE, (9, 8, 7, 255))
    image.paste((0, 0, 0, 0), LEFT)
    nodes = {
        "m": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "s": {"class_type": "MaskToImage", "inputs": {"mask": ["m", 1]}},
        "o": {"class_type": "SaveImage", "inputs": {"images": ["s", 0], "filename_prefix": "m"}},
        "p": {"class_type": "SaveImage", "inputs": {"images": ["m", 0], "filename_prefix": "p"}},
    }
    name = ready.workflow("own_mask", nodes)
    answered = ready.call({"workflow": name, "image": uri(image), "mask": uri(image)})
    shown = Image.open(answered.result["outputs"][0]["path"]).convert("L")
    assert (shown.getpixel((5, 5)), shown.getpixel((35, 5))) == (255, 0)
