"""How the results of a job are given to its caller: as copies of its images, and inside the response.

``submit`` keeps it in the job for a later ``result``, whose own arguments count more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.media.copies import COPY_NOTE, FORMATS, LOSSY, normalize_format
from input_server.light_dataclasses import asdict, dataclass, replace

if TYPE_CHECKING:
    from comfyui_pipeline.call import ToolCall
    from comfyui_pipeline.outputs import ResultOutput

MODES = ("none", "full", "preview")
"""Values of ``return_image``."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """``format``: of copies of images, "" for that of the files; ``quality`` of such copies;
    ``strip_metadata``: copies without prompt and workflow. ``previews``: also temporary images.
    ``return_image``: images in the response. None or "": as usual.
    """

    format: str = ""
    quality: int | None = None
    strip_metadata: bool | None = None
    previews: bool | None = None
    return_image: str = ""


def of_call(call: ToolCall) -> Delivery:
    """What a call asks for."""
    return Delivery(
        format=normalize_format(call.image_format),
        quality=call.quality,
        strip_metadata=call.strip_metadata,
        previews=call.previews,
        return_image=call.return_image,
    )


def over(wanted: Delivery, kept: Delivery) -> Delivery:
    """What a call wants, and for the rest what its job keeps."""
    given = {name: value for name, value in asdict(wanted).items() if value not in (None, "")}
    if given.get("format", "png") not in FORMATS:
        del given["format"]
    return replace(kept, **given)


def kept_fields(delivery: Delivery) -> dict[str, Any]:
    """The delivery as JSON, without what is as usual."""
    return {name: value for name, value in asdict(delivery).items() if value not in (None, "")}


def read(value: Any) -> Delivery:
    """The delivery in a job's facts, which any program may have written."""
    known = value if isinstance(value, Mapping) else {}
    form, quality, mode = known.get("format"), known.get("quality"), known.get("return_image")
    return Delivery(
        format=form if form in FORMATS else "",
        quality=quality if type(quality) is int and 1 <= quality <= 100 else None,
        strip_metadata=_switch(known.get("strip_metadata")),
        previews=_switch(known.get("previews")),
        return_image=mode if mode in MODES else "",
    )


def without_copy_notes(notes: Sequence[str], call: ToolCall) -> tuple[str, ...]:
    """The notes of a job, without those on its copies where the call wants other ones."""
    if not (call.image_format or call.quality or call.strip_metadata is not None):
        return tuple(notes)
    return tuple(note for note in notes if not note.startswith(COPY_NOTE))


def without_effect(
    call: ToolCall, delivery: Delivery, outputs: Sequence[ResultOutput]
) -> Iterator[str]:
    """Sentences on what a call asks of a job that has ended, and cannot have."""
    has_images = any(o.kind == "image" and (o.frames or 1) == 1 for o in outputs)
    form = normalize_format(call.image_format)
    names = {"format": form, "quality": call.quality, "metadata": call.strip_metadata}
    given = [f'"{call.spelled.get(name, name)}"' for name, value in names.items() if value]
    if given and not has_images:
        yield (
            f"{' and '.join(given)} had no effect: only images are copied, and this job has none. "
            "Its files are as the job saved them."
        )
    elif form and form not in FORMATS:
        yield (
            f"{given[0]} is {call.image_format[:80]!r}, in which no copy can be made: the images are "
            f"as the job saved them. Use one of: {', '.join(FORMATS)}."
        )
    elif call.quality and delivery.format not in LOSSY:
        key = call.spelled.get("quality", "quality")
        yield f'"{key}" had no effect on the format of these images; add "format": "jpg" or "webp".'


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
