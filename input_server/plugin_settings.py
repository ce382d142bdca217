"""Settings of the plugin, which may stand in the same ``config.env``.

Written by ``python -m devtools.settings_files``.
"""

from __future__ import annotations

PLUGIN_SETTINGS = frozenset(
    {
        "COMFYUI_BASE_URL",
        "COMFYUI_CA_FILE",
        "COMFYUI_INSECURE_TLS",
        "COMFYUI_START_COMMAND",
        "COMFYUI_WAKE_MAC",
        "COMFYUI_START_SECONDS",
        "COMFYUI_SERVER_INPUT_DIR",
        "COMFYUI_CLIENT_ID",
        "COMFYUI_AUTH",
        "COMFYUI_API_KEY",
        "COMFYUI_DEFAULT_CHECKPOINT",
        "COMFYUI_DEFAULT_VAE",
        "COMFYUI_DEFAULT_LORAS",
        "COMFYUI_DEFAULT_NEGATIVE_PROMPT",
        "COMFYUI_QUALITY_TAGS",
        "COMFYUI_DEFAULT_WORKFLOW",
        "COMFYUI_FREE_MEMORY",
        "COMFYUI_SILENCE_TIMEOUT",
        "COMFYUI_TIMEOUT",
        "COMFYUI_METADATA",
        "COMFYUI_RETURN_IMAGE",
        "COMFYUI_IMAGE_MEMORY_MB",
        "COMFYUI_MAX_IMAGE_MB",
        "COMFYUI_MAX_FILE_MB",
        "COMFYUI_ATTACHMENTS_DIR",
        "COMFYUI_ALLOWED_DIRS",
        "DOWNLOAD_ALLOW",
        "DOWNLOAD_PROXY",
        "DOWNLOAD_PROXY_TRUSTED",
        "FILE_SERVER_URL_AUTH",
        "FILE_SERVER_URL_HOURS",
        "FILE_SERVER_QUALITY",
    }
)
