"""The table of the file server's settings; ``comfyui_pipeline/settings_table.py`` shares some rows.

Parsing, ``config.env.example`` and the manifest's ``configSchema`` derive from it:
``python -m devtools.settings_files`` regenerates the files after a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEXT, INTEGER, NUMBER, BOOLEAN, CHOICE, LIST, FOLDER, URL = (
    "text",
    "integer",
    "number",
    "boolean",
    "choice",
    "list",
    "folder",
    "url",
)
"""Types of settings. LIST: separated by ``;``. FOLDER: a path, also of a file."""


class Setting:
    """One setting: its name, type, default, range and description.

    ``default``: as it would be written in config.env; "" where the description says what applies.
    ``low``, ``high``: the range of a number, in ``unit``. ``choices``: the words of a CHOICE.
    ``secret``: its value is never shown.
    """

    __slots__ = (
        "chinese",
        "choices",
        "default",
        "english",
        "high",
        "low",
        "name",
        "secret",
        "type",
        "unit",
    )

    def __init__(
        self,
        name: str,
        type: str,
        default: str = "",
        *,
        english: str,
        chinese: str,
        low: float = 0,
        high: float = float("inf"),
        unit: str = "",
        choices: tuple[str, ...] = (),
        secret: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.default = default
        self.english = english
        self.chinese = chinese
        self.low = low
        self.high = high
        self.unit = unit
        self.choices = choices
        self.secret = secret


def table(rows: Iterable[Setting]) -> Mapping[str, Setting]:
    """Return the rows by name, in their order."""
    return {row.name: row for row in rows}


SETTINGS = table(
    (
        Setting(
            "COMFYUI_MOUNTS",
            LIST,
            english="Folders that the file server serves, as alias:folder;alias:folder. Without it only "
            "the results are served, as the mount named by COMFYUI_OUTPUT_MOUNT. If you set it, include "
            "output:<results folder>, or the links of results do not work.",
            chinese="文件服务器的挂载目录，格式为 别名:目录;别名:目录；留空则只提供结果目录（别名见 "
            "COMFYUI_OUTPUT_MOUNT）。填写时请同时包含 output:<结果目录>，否则结果链接无法打开。",
        ),
        Setting(
            "COMFYUI_MOUNTS_FILE",
            FOLDER,
            english="JSON file with further mounts and their options, written by `mounts add`. "
            "Default: mounts.json in the project folder.",
            chinese="记录更多挂载目录及其选项的 JSON 文件，由 `mounts add` 写入；"
            "默认为项目目录下的 mounts.json。",
        ),
        Setting(
            "INPUT_SERVER_BASE",
            FOLDER,
            english="Base folder of relative paths in COMFYUI_MOUNTS. Default: the host's folder, or the "
            "project folder when run standalone.",
            chinese="COMFYUI_MOUNTS 中相对路径的基准目录；默认为宿主目录，独立运行时为项目目录。",
        ),
        Setting(
            "COMFYUI_OUTPUT_DIR",
            FOLDER,
            english="Folder for results. Default: output/ in the plugin's folder.",
            chinese="存放结果的目录；默认为插件目录下的 output/。",
        ),
        Setting(
            "COMFYUI_OUTPUT_MOUNT",
            TEXT,
            "output",
            english="Mount (alias) under which the file server serves the results.",
            chinese="文件服务器提供结果目录时使用的别名。",
        ),
        Setting(
            "COMFYUI_SERVER_OUTPUT_DIR",
            FOLDER,
            english="ComfyUI's output folder if ComfyUI runs on this machine. Results are then served "
            'from there (mount "comfyui", unless another mount contains it) instead of being copied.',
            chinese="ComfyUI 在本机运行时其 output 目录的完整路径；结果不再复制，直接从该目录提供"
            "（别名 comfyui，除非已有挂载目录包含它）。",
        ),
        Setting(
            "COMFYUI_ACCESS_KEY",
            TEXT,
            english="Access key that the file server requires in every link; choose a long one. Default: "
            "FILE_SERVER_ACCESS_KEY. The server does not start without a key.",
            chinese="文件服务器要求的访问密钥，请使用较长的密钥；默认与 FILE_SERVER_ACCESS_KEY 相同。"
            "没有密钥时服务器不会启动。",
            secret=True,
        ),
        Setting(
            "FILE_SERVER_ACCESS_KEY",
            TEXT,
            english="Access key that the plugin writes into the links of results; choose a long one. "
            "Default: COMFYUI_ACCESS_KEY. Without a key, results have a path but no link.",
            chinese="插件写入结果链接的访问密钥，请使用较长的密钥；默认与 COMFYUI_ACCESS_KEY 相同。"
            "没有密钥时返回结果只有路径，没有链接。",
            secret=True,
        ),
        Setting(
            "COMFYUI_KEYS",
            TEXT,
            english="Additional keys, each limited to some mounts or networks: a JSON list, or the path "
            "of a file that contains one.",
            chinese="更多密钥，可分别限定挂载目录或网段：一个 JSON 列表，或包含该列表的文件路径。",
            secret=True,
        ),
        Setting(
            "INPUT_SERVER_SIGNING_KEY",
            TEXT,
            english="Secret for signing links; plugin and file server must use the same one. Default: the "
            "access key.",
            chinese="用于生成签名链接的密钥，插件与文件服务器须一致；默认使用访问密钥。",
            secret=True,
        ),
        Setting(
            "INPUT_SERVER_LOCK_AFTER",
            INTEGER,
            "10",
            low=0,
            high=100_000,
            english="Number of different wrong keys after which a client is locked out (repeating the same "
            "key does not count); 0 disables lockouts.",
            chinese="客户端输入多少个不同的错误密钥后被锁定（重复同一个密钥不计）；0 表示不锁定。",
        ),
        Setting(
            "INPUT_SERVER_LOCK_SECONDS",
            INTEGER,
            "600",
            low=1,
            high=10_000_000,
            unit="seconds",
            english="Duration of a lockout in seconds. Signed links keep working.",
            chinese="锁定的秒数；签名链接不受影响。",
        ),
        Setting(
            "INPUT_SERVER_LOCK_EXEMPT",
            LIST,
            "127.0.0.0/8;::1",
            english="Networks that are never locked out, separated by ; (for example where many users "
            "share one IP address), or none.",
            chinese="永不锁定的网段，用 ; 分隔（例如多个用户共用一个 IP）；填 none 表示不设例外。",
        ),
        Setting(
            "INPUT_SERVER_DENY_FILE",
            FOLDER,
            english="File of networks that are denied access, one per line; it is read again after "
            "changes. Default: no file.",
            chinese="拒绝访问的网段列表文件，每行一个；修改后自动重新读取；默认不使用。",
        ),
        Setting(
            "INPUT_SERVER_TRUSTED_PROXIES",
            LIST,
            english="Reverse proxies whose X-Forwarded-For header is trusted, separated by ; Default: none.",
            chinese="可信的反向代理（信任其 X-Forwarded-For 请求头），用 ; 分隔；默认没有。",
        ),
        Setting(
            "INPUT_SERVER_CORS_ORIGINS",
            LIST,
            english="Origins of web pages whose scripts may read the files (CORS), separated by ; such as "
            "https://app.example.com, or * for all. Keys are required all the same. Default: none.",
            chinese="允许其脚本读取文件的网页来源（CORS），用 ; 分隔，例如 https://app.example.com；"
            "* 表示全部。仍然需要密钥；默认没有。",
        ),
        Setting(
            "INPUT_SERVER_CACHE_DIR",
            FOLDER,
            english="Folder for the cache of thumbnails and smaller images. Default: .cache/input_server in "
            "the project folder.",
            chinese="缩略图和压缩图片的缓存目录；默认为项目目录下的 .cache/input_server。",
        ),
        Setting(
            "INPUT_SERVER_CACHE_MB",
            INTEGER,
            "256",
            low=0,
            high=1_000_000,
            unit="MB",
            english="Maximum size of this cache in MB.",
            chinese="该缓存的最大容量（MB）。",
        ),
        Setting(
            "INPUT_SERVER_IMAGE_MB",
            INTEGER,
            "220",
            low=1,
            high=1_000_000,
            unit="MB",
            english="Memory in MB for decoding images into thumbnails, per process. A larger image is "
            "shown as an icon and sent unchanged.",
            chinese="每个进程解码图片、生成缩略图可用的内存（MB）；超出时只显示图标，并发送原图。",
        ),
        Setting(
            "INPUT_SERVER_STALL_SECONDS",
            INTEGER,
            "60",
            low=1,
            high=3600,
            unit="seconds",
            english="Send timeout in seconds: a connection whose client reads nothing for that long is "
            "closed.",
            chinese="发送超时（秒）：客户端在这段时间内未读取任何数据则断开连接。",
        ),
        Setting(
            "INPUT_SERVER_HEAD_SECONDS",
            INTEGER,
            "10",
            low=1,
            high=3600,
            unit="seconds",
            english="Timeout in seconds for the header of a request, and for idle connections.",
            chinese="接收请求头的超时（秒），也是空闲连接的超时。",
        ),
        Setting(
            "INPUT_SERVER_WORKERS",
            INTEGER,
            "1",
            low=1,
            high=64,
            english="Number of server processes. More than one only helps with slow disks; each counts "
            "wrong keys by itself.",
            chinese="服务进程数；只有磁盘较慢时才需要多个，且各进程分别统计错误密钥。",
        ),
        Setting(
            "INPUT_SERVER_ACCESS_LOG",
            BOOLEAN,
            "false",
            english="true: log every request, without its key.",
            chinese="true 表示记录每个请求（不含密钥）。",
        ),
        Setting(
            "INPUT_SERVER_OFFLOAD",
            TEXT,
            english="x-accel:/prefix if a reverse proxy such as nginx sends the files itself "
            "(X-Accel-Redirect). Default: not used.",
            chinese="由 nginx 等反向代理发送文件（X-Accel-Redirect）时填写 x-accel:/前缀；默认不使用。",
        ),
        Setting(
            "INPUT_SERVER_HOST",
            TEXT,
            "127.0.0.1",
            english="IP address to listen on when run standalone (python -m input_server); 0.0.0.0 makes it "
            "reachable from other machines.",
            chinese="独立运行（python -m input_server）时监听的 IP 地址；0.0.0.0 表示允许其他机器访问。",
        ),
        Setting(
            "FILE_SERVER_PORT",
            INTEGER,
            "5005",
            low=1,
            high=65535,
            english="Port of the file server.",
            chinese="文件服务器的端口。",
        ),
        Setting(
            "FILE_SERVER_PUBLIC_IP",
            TEXT,
            "127.0.0.1",
            english="IP address or host name under which the users' browsers reach the file server.",
            chinese="用户的浏览器访问文件服务器所用的 IP 或主机名。",
        ),
        Setting(
            "FILE_SERVER_BASE_URL",
            URL,
            english="Base URL of links, like https://files.example.com; overrides FILE_SERVER_PUBLIC_IP and "
            "FILE_SERVER_PORT.",
            chinese="链接的基础 URL，例如 https://files.example.com；优先于 FILE_SERVER_PUBLIC_IP 和 "
            "FILE_SERVER_PORT。",
        ),
        Setting(
            "FILE_SERVER_URL_STYLE",
            CHOICE,
            "server",
            choices=("server", "host"),
            english="Form of links: server (/comfyui_server/…), or host (/pw=…/files/comfyui/…) for "
            "VCPToolBox's port.",
            chinese="链接形式：server（/comfyui_server/…）；经 VCPToolBox 端口访问时用 host"
            "（/pw=…/files/comfyui/…）。",
        ),
        Setting(
            "INPUT_SERVER_PYTHON",
            FOLDER,
            english="Python interpreter that a Node host starts. Default: that of the .venv in this folder, "
            "in the parent folder or in the comfyui plugin, else python3.",
            chinese="Node 宿主启动的 Python 解释器；默认依次查找本目录、上级目录和 comfyui 插件中的 .venv，"
            "最后是 python3。",
        ),
        Setting(
            "DebugMode",
            BOOLEAN,
            "false",
            english="true: same as INPUT_SERVER_ACCESS_LOG=true.",
            chinese="true 等同于 INPUT_SERVER_ACCESS_LOG=true。",
        ),
    )
)
