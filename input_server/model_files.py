"""The extensions of model files; the pipeline uses them too."""

from __future__ import annotations

MODEL_EXTENSIONS = ("safetensors", "sft", "ckpt", "gguf", "pt", "pth", "bin", "onnx")
