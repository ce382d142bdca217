"""The table of the plugin's settings; rows that the file server reads too come from its table.

Parsing, ``config.env.example`` and the manifest's ``configSchema`` derive from it:
``python -m devtools.settings_files`` writes the files anew after a change.
"""

from __future__ import annotations

from comfyui_pipeline.media.file_limits import (
    FILE_SETTING,
    IMAGE_SETTING,
    MAX_FILE_BYTES,
    MAX_IMAGE_BYTES,
)
from comfyui_pipeline.media.image_memory import DEFAULT_MB
from input_server.settings_table import (
    BOOLEAN,
    CHOICE,
    FOLDER,
    INTEGER,
    LIST,
    NUMBER,
    TEXT,
    URL,
    Setting,
    table,
)
from input_server.settings_table import SETTINGS as FILE_SERVER

EMBEDDED = "embedded"

SETTINGS = table(
    (
        Setting(
            "COMFYUI_BASE_URL",
            URL,
            "http://127.0.0.1:8188",
            english="URL of the ComfyUI server, with its ?token=… if it is opened that way; embedded "
            "starts a small built-in server without models, for "
            "trying things out.",
            chinese="ComfyUI 服务器的 URL，若网页地址带有 ?token=… 也一并填写；"
            "填 embedded 则启动内置的小型服务器（不含模型），供试用。",
        ),
        Setting(
            "COMFYUI_CA_FILE",
            FOLDER,
            english="Full path of a PEM file with the certificate of an https:// ComfyUI server, or of the "
            "CA that signed it, if it is not a public one.",
            chinese="ComfyUI 服务器使用 https:// 且证书不是公共 CA 签发时，该证书或其 CA 证书"
            "（PEM 文件）的完整路径。",
        ),
        Setting(
            "COMFYUI_INSECURE_TLS",
            BOOLEAN,
            "false",
            english="true: accept any certificate of an https:// ComfyUI server, also a forged one.",
            chinese="true：接受 https:// ComfyUI 服务器的任何证书（包括伪造的），不做校验。",
        ),
        Setting(
            "COMFYUI_START_COMMAND",
            TEXT,
            secret=True,
            english="Command that starts ComfyUI, or its machine, when a call cannot reach it; a program "
            "with its arguments, which no shell reads (systemctl --user start comfyui).",
            chinese="无法连接 ComfyUI 服务器时，用于启动它（或其所在机器）的命令：程序及其参数，不经过 shell"
            "（systemctl --user start comfyui）。",
        ),
        Setting(
            "COMFYUI_WAKE_MAC",
            TEXT,
            english="MAC address of the server's machine, which is woken by Wake-on-LAN when a call cannot "
            "reach it (00:11:22:33:44:55); @192.168.1.255 behind it sends the packet to that broadcast "
            "address.",
            chinese="服务器所在机器的 MAC 地址；无法连接时发送 Wake-on-LAN 唤醒包（00:11:22:33:44:55），"
            "其后可加 @192.168.1.255 指定广播地址。",
        ),
        Setting(
            "COMFYUI_START_SECONDS",
            NUMBER,
            "120",
            low=1,
            high=3600,
            unit="seconds",
            english="Seconds that a call waits for a server that is started so, within its own time limit.",
            chinese="以上述方式启动服务器后最多等待的秒数，不超过调用本身的时限。",
        ),
        Setting(
            "COMFYUI_SERVER_INPUT_DIR",
            FOLDER,
            english="Full path of ComfyUI's input folder if ComfyUI runs on this machine. Input files are "
            "then copied there instead of uploaded.",
            chinese="ComfyUI 在本机运行时其 input 目录的完整路径；输入文件直接复制到该目录，不再上传。",
        ),
        FILE_SERVER["COMFYUI_SERVER_OUTPUT_DIR"],
        Setting(
            "COMFYUI_CLIENT_ID",
            TEXT,
            "comfyui-plugin",
            english="Prefix of the client ID sent to ComfyUI; every call appends a unique suffix.",
            chinese="发送给 ComfyUI 的客户端 ID 前缀；每次调用会附加唯一后缀。",
        ),
        Setting(
            "COMFYUI_AUTH",
            TEXT,
            english="Credentials for a proxy in front of ComfyUI: `bearer TOKEN`, `basic USER:PASSWORD`, "
            "`cookie NAME=VALUE` or `Header: value`.",
            chinese="ComfyUI 前置代理的登录凭据：`bearer 令牌`、`basic 用户:密码`、`cookie 名=值` 或 "
            "`请求头: 值`。",
            secret=True,
        ),
        Setting(
            "COMFYUI_API_KEY",
            TEXT,
            english="API key of the Comfy account that pays for partner nodes, if workflows use them; no "
            "login of the server, which is COMFYUI_AUTH.",
            chinese="工作流使用付费的合作伙伴节点（Partner Nodes）时所用 Comfy 账户的 API 密钥；不是服务器的"
            "登录凭据（那是 COMFYUI_AUTH）。",
            secret=True,
        ),
        Setting(
            "COMFYUI_DEFAULT_CHECKPOINT",
            TEXT,
            english="Checkpoint for the workflows that come with the plugin, for {{MODEL}} in templates, and "
            "in place of one that the server lacks; folder and extension may be omitted.",
            chinese="自带工作流、模板中的 {{MODEL}} 默认使用的大模型；工作流所需的大模型"
            "在服务器上不存在时也用它。可省略目录和扩展名。",
        ),
        Setting(
            "COMFYUI_DEFAULT_VAE",
            TEXT,
            english="VAE for {{VAE}} in templates.",
            chinese="模板中 {{VAE}} 默认使用的 VAE。",
        ),
        Setting(
            "COMFYUI_DEFAULT_LORAS",
            LIST,
            english="LoRAs for the workflows that come with the plugin and for {{LORAS}} in templates, "
            "separated by ; (name or name:strength).",
            chinese="自带工作流和模板中的 {{LORAS}} 默认使用的 LoRA，用 ; 分隔（名称或 名称:强度）。",
        ),
        Setting(
            "COMFYUI_DEFAULT_NEGATIVE_PROMPT",
            TEXT,
            english="Negative prompt of calls that give none, for the same workflows and templates.",
            chinese="未指定负面提示词时使用的负面提示词（适用范围同上）。",
        ),
        Setting(
            "COMFYUI_QUALITY_TAGS",
            TEXT,
            english="Words appended to every prompt of the workflows that come with the plugin, and "
            "{{QUALITY_TAGS}} in templates.",
            chinese="附加在自带工作流每个提示词之后的质量词；也用于模板中的 {{QUALITY_TAGS}}。",
        ),
        Setting(
            "COMFYUI_DEFAULT_WORKFLOW",
            TEXT,
            english="Workflow of calls that name none. Default: the shipped one that suits the "
            "arguments.",
            chinese="调用未指定工作流时使用的工作流；默认按参数选择自带的工作流。",
        ),
        Setting(
            "COMFYUI_FREE_MEMORY",
            TEXT,
            "never",
            english="When the server's models are unloaded, for other programs on its GPU: never, job (after "
            "each job), or the minutes for which nothing has been queued.",
            chinese="何时卸载服务器上的模型（与其他程序共用显卡时）：never（从不）、job（每个任务之后），"
            "或队列空闲的分钟数。",
        ),
        Setting(
            "COMFYUI_SILENCE_TIMEOUT",
            NUMBER,
            "300",
            low=5,
            high=86_400,
            unit="seconds",
            english="Seconds without an answer or message of the server after which a running job "
            "counts as stalled. As long as the server lists it as running, the call waits until its "
            "time limit and then mentions the silence.",
            chinese="服务器既不应答也没有消息超过该秒数时，运行中的任务视为卡死；只要服务器仍显示任务"
            "在运行，就会等到调用时限，并在结果中说明多久没有进度。",
        ),
        Setting(
            "COMFYUI_TIMEOUT",
            NUMBER,
            low=1,
            unit="seconds",
            english="Seconds after which a call returns what it has; at least 5 below the manifest's "
            "timeout. Default: 20 below it (580).",
            chinese="一次调用最多等待的秒数，到时返回已有结果；须比清单中的超时至少少 5 秒，"
            "默认少 20 秒（580）。",
        ),
        Setting(
            "COMFYUI_METADATA",
            CHOICE,
            "keep",
            choices=("keep", "none"),
            english="none: images are passed on as copies without prompt and workflow; the originals "
            "stay as ComfyUI saved them. The argument `metadata` overrides it.",
            chinese="填 none：以不含提示词和工作流的副本提供图片，原文件保持 ComfyUI 所存的样子；"
            "可用参数 `metadata` 覆盖。",
        ),
        Setting(
            "COMFYUI_RETURN_IMAGE",
            CHOICE,
            "preview",
            choices=("preview", "full", "none"),
            english="Images included in the response for models with vision: preview, full or none.",
            chinese="返回结果中直接附带的图片（供视觉模型使用）：preview（缩略图）、full（原图）或 none。",
        ),
        Setting(
            "COMFYUI_IMAGE_MEMORY_MB",
            INTEGER,
            str(DEFAULT_MB),
            low=16,
            high=65_536,
            unit="MB",
            english="Memory in MB for decoding images. A larger result is linked without a preview; a "
            "larger input is refused.",
            chinese="解码图片可用的内存（MB）；超出时，结果只返回链接、不附图片，输入则被拒绝。",
        ),
        Setting(
            IMAGE_SETTING,
            INTEGER,
            str(MAX_IMAGE_BYTES >> 20),
            low=1,
            high=2048,
            unit="MB",
            english="Largest input image or mask in MB. Inside a call at most 50 MB are accepted.",
            chinese="输入图片和遮罩的最大文件大小（MB）；直接写在调用中的最多 50 MB。",
        ),
        Setting(
            FILE_SETTING,
            INTEGER,
            str(MAX_FILE_BYTES >> 20),
            low=1,
            high=16_384,
            unit="MB",
            english="Largest input file of any other kind (video, sound, 3D) in MB; it is held in memory.",
            chinese="其他输入文件（视频、音频、3D）的最大大小（MB）；文件会整个读入内存。",
        ),
        FILE_SERVER["COMFYUI_OUTPUT_DIR"],
        FILE_SERVER["COMFYUI_OUTPUT_MOUNT"],
        Setting(
            "COMFYUI_ATTACHMENTS_DIR",
            FOLDER,
            english="Attachments folder; calls may name its files without a path (cat.png). Default: "
            "../../../AppData/UserData/attachments",
            chinese="附件目录，调用时可只写其中文件的文件名（如 cat.png）；默认为 "
            "../../../AppData/UserData/attachments",
        ),
        Setting(
            "COMFYUI_ALLOWED_DIRS",
            LIST,
            english="Additional folders whose files calls may use by full path or file:// URL, separated "
            "by ;",
            chinese="允许读取的其他目录，其中的文件可用完整路径或 file:// URL 指定；用 ; 分隔。",
        ),
        Setting(
            "DOWNLOAD_ALLOW",
            LIST,
            english="Private hosts or networks that files may be downloaded from, separated by ; "
            "(nas.local;192.168.1.0/24)",
            chinese="允许从中下载文件的内网主机或网段，用 ; 分隔（nas.local;192.168.1.0/24）。",
        ),
        Setting(
            "DOWNLOAD_PROXY",
            TEXT,
            secret=True,
            english="HTTP proxy for downloads of input files (http://127.0.0.1:7890), none for no proxy; "
            "empty: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the system's proxy.",
            chinese="下载输入文件所用的 HTTP 代理（http://127.0.0.1:7890），填 none 则不使用代理；"
            "留空则使用 HTTP_PROXY、HTTPS_PROXY、NO_PROXY 或系统代理。",
        ),
        Setting(
            "DOWNLOAD_PROXY_TRUSTED",
            BOOLEAN,
            "false",
            english="The proxy resolves host names, for example where local DNS is wrong. Only for a "
            "proxy that refuses private addresses itself.",
            chinese="由代理解析域名，适用于本地 DNS 结果不可靠的情况。仅当代理自身拒绝访问内网地址时才启用。",
        ),
        FILE_SERVER["FILE_SERVER_PUBLIC_IP"],
        FILE_SERVER["FILE_SERVER_PORT"],
        FILE_SERVER["FILE_SERVER_BASE_URL"],
        FILE_SERVER["FILE_SERVER_ACCESS_KEY"],
        Setting(
            "FILE_SERVER_URL_AUTH",
            CHOICE,
            "key",
            choices=("key", "signed"),
            english="Authentication of links: key (access key in the URL, never expires) or signed "
            "(signature that expires).",
            chinese="链接的认证方式：key（链接含访问密钥，长期有效）或 signed（签名链接，会过期）。",
        ),
        Setting(
            "FILE_SERVER_URL_HOURS",
            NUMBER,
            "720",
            low=1,
            high=8760,
            unit="hours",
            english="Minimum validity of a signed link in hours; at most 8760 (a year).",
            chinese="签名链接的最短有效期（小时），最长 8760（一年）。",
        ),
        FILE_SERVER["INPUT_SERVER_SIGNING_KEY"],
        FILE_SERVER["FILE_SERVER_URL_STYLE"],
        Setting(
            "FILE_SERVER_QUALITY",
            TEXT,
            english="Quality of linked images: 1 to 100, or auto, serves smaller copies; empty serves the "
            "original files.",
            chinese="链接中图片的质量：填 1 到 100 或 auto 则提供压缩后的副本；留空则提供原图。",
        ),
        FILE_SERVER["COMFYUI_MOUNTS"],
        FILE_SERVER["COMFYUI_ACCESS_KEY"],
        FILE_SERVER["DebugMode"],
    )
)
