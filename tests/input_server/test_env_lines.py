"""Lines of config.env: what is accepted means the same to every program, what is not says its cure."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import dotenv
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comfyui_pipeline.settings_table import SETTINGS as PLUGIN
from input_server.env_file import read_env_file
from input_server.env_lines import read_lines
from input_server.errors import ConfigError
from input_server.settings_table import SETTINGS, TEXT, Setting

KNOWN = {**SETTINGS, **PLUGIN}
DIR = "COMFYUI_OUTPUT_DIR"
KEY = "FILE_SERVER_ACCESS_KEY"


def mistake(text: str) -> str:
    """The only mistake of the text, with its line."""
    ((number, said),) = read_lines(text, KNOWN)[1]
    return f"{number}: {said}"


WRITTEN_ANEW = [
    (r"'D:\my out\'", r"D:\my out" + "\\"),
    (r'"D:\new\temp"', r"D:\new\temp"),
    (r'"D:\my # out\new"', r"'D:\my # out\new'"),
    (r"'D:\my # out\'", r"'D:\my # out'"),
    (r"'\\nas\my # out'", "'//nas/my # out'"),
    (r"D:\C#\new", r"'D:\C#\new'"),
    ("/it's#1", '"/it\'s#1"'),
    (r'"\\nas\pics"', r"\\nas\pics"),
]


@pytest.mark.parametrize(("wrong", "right"), WRITTEN_ANEW)
def test_a_value_with_other_meanings_is_refused_with_a_line_that_works(
    wrong: str, right: str
) -> None:
    said = mistake(f"# x\r\n{DIR}={wrong}\r\nFILE_SERVER_PORT=81")
    assert said.startswith(f"2: {DIR} ")
    assert said.endswith(f"Write {DIR}={right}")
    values, mistakes = read_lines(f"{DIR}={right}", KNOWN)
    assert (list(values), mistakes) == ([DIR], [])


def test_no_line_after_a_wrong_one_is_lost() -> None:
    text = f"{DIR}='D:\\out\\'\nFILE_SERVER_PORT=81\nCOMFYUI_CLIENT_ID='x'\nCOMFYUI_AUTH: y"
    values, mistakes = read_lines(text, KNOWN)
    assert values == {"FILE_SERVER_PORT": "81", "COMFYUI_CLIENT_ID": "x"}
    assert [number for number, _ in mistakes] == [1, 4]


REFUSED = [
    (f"{DIR}='/a", "has no closing '"),
    (f'{DIR}="/a\n', 'has no closing "'),
    (f"{DIR}='/a' b", "has text behind its closing '"),
    (f"{DIR}=`/a`", "Use ' instead"),
    (f"{DIR}=“/a”", "is in typographic quotes"),
    (f"{DIR}=＂/a＂", "is in typographic quotes"),
    (f"{KEY}=‘abcdefghijkl’", "is in typographic quotes"),
    (f"{DIR}=${{HOME}}/a", "contains ${HOME}, but variables are not replaced"),
    (f"{DIR}=$HOME/a", "contains $HOME"),
    (f"{DIR}=%USERPROFILE%\\a", "contains %USERPROFILE%"),
    ("COMFYUI_ALLOWED_DIRS=/a;$HOME/a", "contains $HOME"),
    ("COMFYUI_MOUNTS=a:${HOME}", "contains ${HOME}"),
    ("COMFYUI_BASE_URL=http://${HOST}:8188", "contains ${HOST}"),
    ("COMFYUI_MOUNTS_FILE=%APPDATA%\\m.json", "contains %APPDATA%"),
    ("COMFYUI_ALLOWED_DIRS=/a；/b", "Separate the parts by ;"),
    ("COMFYUI_MOUNTS=a:/a；b:/b", "Separate the parts by ;"),
    (f"{KEY}: abc", f"Write {KEY}=value, with = instead of :"),
    (f"{KEY}：abc", f"Write {KEY}=value, with = instead of ："),
    (f"{KEY}＝abc", f"Write {KEY}=value, with = instead of ＝"),
    (f'"{KEY}": "abc"', f"Write {KEY}=value, with = instead of :"),
    (KEY, f"Write {KEY}=value."),
    (f"set {KEY}=abc", f"`set` is for command lines. Write {KEY}=value without it"),
    (f'SET "{KEY}=abc"', f"Write {KEY}=value without it"),
    (f'$env:{KEY} = "abc"', f"Write {KEY}=value without it"),
    (f"// {KEY}=abc", "A comment begins with #"),
    (f"＃ {KEY}=abc", "A comment begins with #"),
    ("abc def=ghi", "Write NAME=value on one line"),
    ("[settings]", "Write NAME=value on one line"),
    ("密钥=abc", "Write NAME=value on one line"),
    (f"{KEY}=ab\0c", "contains a control character"),
    (f"{KEY}=abc#def", "where a host ends the value. Put it in '…'."),
    (f"{KEY}=#abc", "Put it in '…'."),
    (f"{KEY}='abc\\'", "Write it without the quotes."),
    ("COMFYUI_BASEURL=http://a", "Did you mean COMFYUI_BASE_URL?"),
    ("COMFUI_BASE_URL=http://a", "Did you mean COMFYUI_BASE_URL?"),
    ("comfyui_base_url=http://a", "Did you mean COMFYUI_BASE_URL?"),
    ("COMFYUI-BASE-URL=http://a", "Did you mean COMFYUI_BASE_URL?"),
    ("FILE_SERVER_KEY=abc", "Did you mean FILE_SERVER_ACCESS_KEY?"),
    ("COMFYUI_URL=http://a", "Did you mean COMFYUI_BASE_URL?"),
    ("COMFYUI_KEY=abc", "Did you mean COMFYUI_KEYS?"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED)
def test_a_line_that_is_not_meant_as_it_stands_is_refused(line: str, said: str) -> None:
    found = mistake(f"# a\n\n{line}")
    assert found.startswith("3: ")
    assert said in found
    assert "abc" not in found, "the value of a key must not be shown"


GOOD = [
    ("DOWNLOAD_ALLOW=D:\\new\\table $HOME", "D:\\new\\table $HOME"),
    (f"{DIR}=D:\\new\\temp\\", "D:\\new\\temp\\"),
    (f'{DIR}="D:\\ComfyUI\\input"', "D:\\ComfyUI\\input"),
    (f"{DIR}='D:\\C# pics\\new' # there", "D:\\C# pics\\new"),
    (f"export {DIR} = /a b  # there", "/a b"),
    (f"{DIR}=\\\\nas\\c$\\pics", "\\\\nas\\c$\\pics"),
    (f"{KEY}='abc#def'", "abc#def"),
    (f"{KEY}=$HOME%PATH%${{A}}", "$HOME%PATH%${A}"),
    ("COMFYUI_QUALITY_TAGS=杰作；“最佳”画质", "杰作；“最佳”画质"),
    ("COMFYUI_BASE_URL=http://a/#b", "http://a/#b"),
    ("COMFYUI_API_KEY=account#key", "account#key"),
    ("COMFYUI_BASE_URL=http://a/%E4%BD%A0", "http://a/%E4%BD%A0"),
    ('COMFYUI_KEYS=[{"name": "a", "key": "12345678"}]', '[{"name": "a", "key": "12345678"}]'),
    ("PROJECT_BASE_PATH=/host", "/host"),
    ("HTTP_PROXY=http://proxy", "http://proxy"),
    ("SERVER_PORT=6005", "6005"),
    ("debugMode=true", "true"),
]


@pytest.mark.parametrize(("line", "value"), GOOD)
def test_what_means_the_same_everywhere_is_accepted(line: str, value: str) -> None:
    values, mistakes = read_lines(f"\n  {line}\n", KNOWN)
    assert mistakes == []
    assert list(values.values()) == [value]


def test_debug_mode_is_read_in_any_case() -> None:
    assert read_lines("DEBUGMODE=true\n", KNOWN) == ({"DebugMode": "true"}, [])


@pytest.mark.parametrize("value", ["", " ", "''", '""', "# words", "   #words", "#"])
def test_an_empty_value_and_a_comment_set_nothing(value: str) -> None:
    assert read_lines(f"{KEY}={value}\n", KNOWN) == ({}, [])
    assert read_lines(f"COMFYUI_BASEURL={value}\n", KNOWN)[1] == []


@pytest.mark.parametrize(
    ("lines", "twice"),
    [
        (("http://a", "http://127.0.0.1:8188"), True),
        (("http://a", ""), True),
        (("http://a", "http://b"), True),
        (("http://127.0.0.1:8188", "http://a"), False),
        (("", "http://a"), False),
        (("http://a", "http://a"), False),
    ],
)
def test_settings_above_a_copied_example_are_not_overridden_silently(
    lines: tuple[str, ...], twice: bool
) -> None:
    text = "".join(f"COMFYUI_BASE_URL={value}\n" for value in lines)
    values, mistakes = read_lines(text, KNOWN)
    if twice:
        ((number, said),) = mistakes
        assert number == 2
        assert "set on line 1 too" in said
    else:
        assert values == {"COMFYUI_BASE_URL": lines[-1]}
        assert mistakes == []


def test_the_error_names_the_file_and_the_first_lines(tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text("a b\n" * 7, "utf-8")
    with pytest.raises(ConfigError, match=r"Line 5: .* 2 more lines are wrong") as caught:
        read_env_file(tmp_path, KNOWN)
    assert str(tmp_path / "config.env") in str(caught.value)
    assert "Line 6" not in str(caught.value)


NODE_LINE = re.compile(
    r"^\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)"
    r"(\s*'(?:\\'|[^'])*'|\s*\"(?:\\\"|[^\"])*\"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:#.*)?$",
    re.MULTILINE | re.ASCII,
)


def node(text: str) -> dict[str, str]:
    """What dotenv for Node 16 reads (lib/main.js, parse), which VCPToolBox uses."""
    found = {}
    for name, written in NODE_LINE.findall(re.sub(r"\r\n?", "\n", text)):
        value = written.strip()
        quoted = value[:1]
        value = re.sub(r"""^(['"`])([\s\S]*)\1$""", r"\2", value)
        if quoted == '"':
            value = value.replace("\\n", "\n").replace("\\r", "\r")
        found[name] = value
    return {name: value for name, value in found.items() if value}


PIECES = [
    "a",
    "b=",
    " ",
    "#",
    "'",
    '"',
    "`",
    "\\",
    "\\n",
    ":",
    "A=",
    "$",
    "${A}",
    "=",
    "\n",
    "\r\n",
]
ROW = {
    name: Setting(name, TEXT, english="", chinese="")
    for name in ("COMFYUI_OUTPUT_MOUNT", "INPUT_SERVER_HOST")
}


@settings(max_examples=1500, deadline=None, derandomize=True)
@example("COMFYUI_OUTPUT_MOUNT=a\\#b'\nINPUT_SERVER_HOST='#\\'\n")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["COMFYUI_OUTPUT_MOUNT=", "export INPUT_SERVER_HOST = ", "", "# "]),
            st.sampled_from(["", "'", '"']),
            st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
            st.sampled_from(["", "'", '"', "' # x", " #"]),
        ).map("".join),
        max_size=3,
    ).map("\n".join)
)
def test_other_programs_read_from_an_accepted_text_what_is_read_here(text: str) -> None:
    values, mistakes = read_lines(text, ROW)
    if mistakes:
        return
    loaded = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    assert known(loaded) == known(values)
    assert known(node(text)) == known(values)


def known(values: Mapping[str, str | None]) -> dict[str, str]:
    """The settings of the table, without comments that python-dotenv reads as a value."""
    return {
        name: value
        for name, value in values.items()
        if name in ROW and value and not re.match(r"#(\s|$)", value)
    }
