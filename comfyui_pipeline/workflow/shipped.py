"""The workflows that come with the plugin."""

from __future__ import annotations

SHIPPED = (
    "text2img_api",
    "img2img_api",
    "inpaint_api",
    "controlnet_canny_api",
    "upscale_api",
    "resize_image",
    "blend_images",
    "paste_with_mask",
    "outpaint_canvas",
    "blur_image",
    "invert_image",
)
"""Their names; where several suit a call, the earlier one does."""
