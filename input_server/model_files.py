"""Model files by their extensions; the pipeline uses this too."""

from __future__ import annotations

MODEL_EXTENSIONS = frozenset({"safetensors", "sft", "ckpt", "gguf", "pt", "pth", "bin", "onnx"})


def model_stem(name: str) -> str | None:
    """Return the name of a model file without its extension; None for any other name."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and extension.lower() in MODEL_EXTENSIONS else None
