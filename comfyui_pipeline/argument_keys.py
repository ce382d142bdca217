"""Keys as callers write them -> arguments: ``Negative-Prompt``, ``num_images``, ``图片``, ``image_2``."""

from __future__ import annotations

from collections.abc import Mapping

from comfyui_pipeline.arguments import ARGUMENTS, BY_NAME, Argument

HOST_KEYS = frozenset(
    {
        "tool_name",
        "maid",
        "valet",
        "archery",
        "ink",
        "river",
        "river_context",
        "vref",
        "vref_files",
        "tool_password",
        "requireAdmin",
        "timely_contact",
        "__vcp_timed_call",
    }
)
"""Keys of the hosts' tool protocol, which are no arguments of ours: VCPToolBox
``modules/vcpLoop/toolCallParser.js`` (``parseBlock``), ``toolExecutor.js`` and ``Plugin.js``;
VCPDistributedServer passes on what it receives."""
HOST_PREFIXES = ("__vcp", "_vcp")
MAX_ITEM_DIGITS = 3
MAX_KEY = 80
"""Characters; a longer key is no argument under any name."""
MAX_FOLDED = 1000
ITEMS_OF: Mapping[str, str] = {"image": "images", "images": "images", "loras": "loras"}
"""Argument -> the list that its numbered keys (``image1``, ``lora_2``) are items of."""
_TRADITIONAL = (
    "詞負圖寬長縱數張幀視頻聲時間語種機隨採樣調係強繪縮標籤樂風輸參連鏈結開關後遲異動"
    "執權稱檔資夾錄節點務編號預覽試運僅檢驗質畫壓碼換線態豎橫測詢網絡體護準鏡經過類層"
    "選項單雙設裡級終詳訊嚴賽處邊傳轉複濾圍範擇庫優實內餘尋獲應無紋補額總獨產電臉頭顏"
    "題專業勢與啟閉對確認識維構釋錯誤軌較靜鐘們夢歲幾個頁墊"
)
_SIMPLIFIED = (
    "词负图宽长纵数张帧视频声时间语种机随采样调系强绘缩标签乐风输参连链结开关后迟异动"
    "执权称档资夹录节点务编号预览试运仅检验质画压码换线态竖横测询网络体护准镜经过类层"
    "选项单双设里级终详讯严赛处边传转复滤围范择库优实内余寻获应无纹补额总独产电脸头颜"
    "题专业势与启闭对确认识维构释错误轨较静钟们梦岁几个页垫"
)
_FOLDING = str.maketrans(_TRADITIONAL, _SIMPLIFIED, "_-. \t\n:$*`\"'")
_BY_COMMAND = {"id": "job_id", "taskid": "job_id", "runid": "job_id"}
"""Folded aliases of ``prompt_id`` that name the caller's own id in commands that queue a job."""


def fold(key: str) -> str:
    """A key without case, width, hyphens, underscores, dots and spaces: ``ＣＦＧ Scale`` -> ``cfgscale``.

    Traditional Chinese letters become simplified ones. A longer key than any name stays as it is, as
    normalization takes quadratic time for combining marks.
    """
    if len(key) > MAX_FOLDED:
        return key
    if not key.isascii():
        import unicodedata

        key = unicodedata.normalize("NFKC", key)
    return key.lower().translate(_FOLDING)


def _index() -> dict[str, Argument]:
    found = {argument.name.replace("_", ""): argument for argument in ARGUMENTS}
    for argument in ARGUMENTS:
        for alias in argument.aliases:
            folded = alias.replace("_", "") if alias.isascii() else alias.translate(_FOLDING)
            found.setdefault(folded.lower(), argument)
    return found


FOLDED: Mapping[str, Argument] = _index()
"""Every name and alias of the table, folded -> its row."""


def is_host_key(key: str) -> bool:
    """Whether the host added this key."""
    return key in HOST_KEYS or key.startswith(HOST_PREFIXES)


def find(key: str, command: str = "run") -> tuple[Argument | None, int | None]:
    """The argument that a key means, and its number as an item of a list; (None, None) for others."""
    argument = BY_NAME.get(key)
    if argument is not None or len(key) > MAX_KEY:
        return argument, None
    folded = fold(key)
    if not folded:
        return None, None
    argument = FOLDED.get(folded)
    if argument is None:
        return _numbered(folded)
    if command not in argument.commands and folded in _BY_COMMAND:
        return BY_NAME[_BY_COMMAND[folded]], None
    return argument, None


def meaning(key: str) -> str:
    """What two keys have in common if only one of them can be used."""
    argument, number = find(key)
    return f"{argument.name} {number}" if argument else key


def _numbered(folded: str) -> tuple[Argument | None, int | None]:
    """``image2``, ``lora01``, ``image1url``: one run of digits, not at the beginning."""
    digits = "".join(letter for letter in folded if letter in "0123456789")
    before, found, after = folded.partition(digits) if digits else ("", "", "")
    if not before or not found:
        return None, None
    argument = FOLDED.get(before + after)
    number = int(digits) if len(digits) <= MAX_ITEM_DIGITS else 0
    if argument is None or argument.name not in ITEMS_OF or not number:
        return None, None
    return BY_NAME[ITEMS_OF[argument.name]], number


def nearest(key: str, command: str = "run") -> str:
    """The argument of a command whose name or alias is written most like a key; "" for none."""
    from difflib import get_close_matches

    known = [name for name, argument in FOLDED.items() if command in argument.commands]
    near = get_close_matches(fold(key), known, 1, 0.8) if len(key) <= MAX_KEY else []
    return FOLDED[near[0]].name if near else ""
