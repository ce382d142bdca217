"""Sources as chat programs write them: Markdown, HTML, labels, prefixes, names without extension."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.sources import Inline, LocalFile, ServerFile, Url, parse_source
from comfyui_pipeline.media.written_sources import bare_source
from tests.media.input_folder import png

URL = "https://example.com/a.png"


@pytest.mark.parametrize(
    "written",
    [
        URL,
        f"![a cat]({URL})",
        f'![a cat]({URL} "the title")',
        f"![]( {URL} )",
        f"[a link]({URL})",
        f'<img src="{URL}" alt="a">',
        f"<img src='{URL}'>",
        f"<{URL}>",
        f"`{URL}`",
        f'"{URL}"',
        f"“{URL}”",
        f"[附加图片: {URL}]",
        f"[附加图片：{URL}]",
        f"[image: {URL}]",
    ],
)
def test_the_source_is_found_in_what_is_written_around_it(written: str) -> None:
    assert bare_source(written) == URL


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://x.org/a.png?a=1&amp;b=2", "https://x.org/a.png?a=1&b=2"),
        ("https://x.org/sp ace.png", "https://x.org/sp%20ace.png"),
        ("https://x.org/图.png", "https://x.org/%E5%9B%BE.png"),
        ("https://x.org/a%20b(1).png", "https://x.org/a%20b(1).png"),
    ],
)
def test_a_url_is_written_as_a_url(written: str, url: str) -> None:
    assert bare_source(written) == url


@pytest.mark.parametrize("name", ["a, b.png", "it's.png", "[1] a.png", "a(1).png", "![a].png"])
def test_a_name_stays_as_it_is(name: str) -> None:
    assert bare_source(name) == name


@pytest.mark.parametrize("prefix", ["base64://", "base64,", ""])
def test_base64_text_may_have_a_prefix(places: AllowedFolders, prefix: str) -> None:
    encoded = base64.b64encode(png()).decode()
    assert parse_source(prefix + encoded, places) == Inline(png())


def test_a_markdown_image_of_an_attachment_is_that_attachment(
    places: AllowedFolders, tmp_path: Path
) -> None:
    attached = (tmp_path / "attachments" / "图 a.png").resolve()
    assert parse_source("![](图 a.png)", places) == LocalFile(attached)
    assert parse_source(f"[附加图片: {attached.as_uri()}]", places) == LocalFile(attached)
    assert isinstance(parse_source(f"![]({URL})", places), Url)


def test_an_attachment_may_be_named_without_extension_or_in_other_case(
    places: AllowedFolders, tmp_path: Path
) -> None:
    folder = tmp_path / "attachments"
    (folder / "Photo.JPG").write_bytes(png())
    assert parse_source("photo", places) == LocalFile((folder / "Photo.JPG").resolve())
    assert parse_source("photo.jpg", places) == LocalFile((folder / "Photo.JPG").resolve())
    assert isinstance(parse_source("photo.png", places), ServerFile)
    (folder / "photo.png").write_bytes(png())
    with pytest.raises(MediaError, match=r"several attachments: Photo\.JPG, photo\.png"):
        parse_source("photo", places)
