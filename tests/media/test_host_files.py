"""URLs and paths of the host's own images: read from its folders, only with its port and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.host_files import HostFiles, attachment_name
from comfyui_pipeline.media.sources import LocalFile, Url, parse_source
from tests.media.input_folder import png

KEY = "Imäge-Key_1"
WRITTEN = "Im%C3%A4ge-Key_1"
BEGIN = f"http://127.0.0.1:6005/pw={WRITTEN}/images/"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The host's folder, with files that may and that must not be read."""
    base = tmp_path / "VCPToolBox"
    for name in (
        "image/flux/猫 a.png",
        "image/.hidden.png",
        "image/.h/a.png",
        "file/doc/b.png",
        "image-evil/c.png",
        "config.env",
        "Plugin/x/d.png",
        "../VCPChat/AppData/UserData/attachments/e.png",
        "../VCPChat/AppData/UserData/attachments/.f.png",
        "../VCPChat/AppData/UserData/secret.png",
    ):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(png())
    return base


@pytest.fixture
def places(base: Path, tmp_path: Path) -> AllowedFolders:
    chat = base.parent / "VCPChat" / "AppData" / "UserData" / "attachments"
    host = HostFiles(base, "vcp.example", 6005, KEY, "file-key", (chat,))
    own = tmp_path / "attachments"
    own.mkdir()
    (own / "mine.png").write_bytes(png())
    return AllowedFolders(own, shown=(host.images, *host.attachments), host=host)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (BEGIN + "flux/%E7%8C%AB%20a.png", "image/flux/猫 a.png"),
        (BEGIN + "flux/猫 a.png", "image/flux/猫 a.png"),
        (BEGIN + "flux/%E7%8C%AB%20a.png?t=1#x", "image/flux/猫 a.png"),
        (f'<img src="{BEGIN}flux/%E7%8C%AB%20a.png" width="300">', "image/flux/猫 a.png"),
        (f"![x]({BEGIN}flux/%E7%8C%AB%20a.png)", "image/flux/猫 a.png"),
        (BEGIN.replace("127.0.0.1", "VCP.example") + "flux/猫 a.png", "image/flux/猫 a.png"),
        (BEGIN.replace("127.0.0.1", "localhost") + "flux/猫 a.png", "image/flux/猫 a.png"),
        (BEGIN.replace("127.0.0.1", "[::1]") + "flux/猫 a.png", "image/flux/猫 a.png"),
        (BEGIN.replace("/images/", "/image/") + "flux/猫 a.png", "image/flux/猫 a.png"),
        ("http://127.0.0.1:6005/pw=file-key/files/doc/b.png", "file/doc/b.png"),
        ("file://127.0.0.1/image/flux/猫 a.png", "image/flux/猫 a.png"),
        ("file://vcp.example/image/flux/%E7%8C%AB%20a.png", "image/flux/猫 a.png"),
        ("file:///image/flux/猫 a.png", "image/flux/猫 a.png"),
        ("{base}/image/flux/猫 a.png", "image/flux/猫 a.png"),
        ("file://{base}/image/flux/猫 a.png", "image/flux/猫 a.png"),
        ("[附加图片: file://{base}/../VCPChat/AppData/UserData/attachments/e.png]", "e.png"),
        ("[附加图片: file:///D:/VCPChat/AppData/UserData/attachments/e.png]", "e.png"),
        (r"D:\VCP\AppData\UserData\attachments\mine.png", "mine.png"),
        ("/home/me/VCPChat/AppData/UserData/attachments/mine.png", "mine.png"),
    ],
)
def test_files_of_the_host_are_read_from_its_folders(
    places: AllowedFolders, base: Path, value: str, name: str
) -> None:
    found = parse_source(value.replace("{base}", str(base)), places)
    assert isinstance(found, LocalFile)
    assert found.path.as_posix().endswith(name)
    assert KEY not in found.shown
    assert WRITTEN not in found.shown
    assert "file-key" not in found.shown


FLUX = "flux/%E7%8C%AB%20a.png"


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:6005/pw=wrong-key/images/{FLUX}",
        f"http://127.0.0.1:6005/pw=/images/{FLUX}",
        f"http://127.0.0.1:6005/pw={WRITTEN}x/images/{FLUX}",
        f"http://127.0.0.1:6005/pw={WRITTEN[:-1]}/images/{FLUX}",
        f"http://127.0.0.1:6005/PW={WRITTEN}/images/{FLUX}",
        f"http://127.0.0.1:6005/{WRITTEN}/images/{FLUX}",
        f"http://127.0.0.1:6005/x/pw={WRITTEN}/images/{FLUX}",
        f"http://127.0.0.1:6005/pw={WRITTEN}/files/doc/b.png",
        f"http://127.0.0.1:6005/pw=file-key/images/{FLUX}",
        f"http://127.0.0.1:6005/pw={WRITTEN}/Plugin/x/d.png",
        f"http://127.0.0.1:6005/pw={WRITTEN}/images-evil/c.png",
        f"http://127.0.0.1:6006/pw={WRITTEN}/images/{FLUX}",
        f"http://127.0.0.1/pw={WRITTEN}/images/{FLUX}",
        f"https://127.0.0.1:6005/pw={WRITTEN}/images/{FLUX}",
        f"http://vcp.example.evil.test:6005/pw={WRITTEN}/images/{FLUX}",
        f"http://evil.test:6005/pw={WRITTEN}/images/{FLUX}",
        f"http://127.0.0.1:6005@evil.test:6005/pw={WRITTEN}/images/{FLUX}",
        f"http://me:pw@127.0.0.1:6005/pw={WRITTEN}/images/{FLUX}",
        f"http://evil.test#@127.0.0.1:6005/pw={WRITTEN}/images/{FLUX}",
        f"http://evil.test:6005/?http://127.0.0.1:6005/pw={WRITTEN}/images/{FLUX}",
    ],
)
def test_another_host_port_or_key_is_not_mapped(places: AllowedFolders, url: str) -> None:
    found = parse_source(url, places)
    assert isinstance(found, Url)
    assert "wrong-key" not in found.shown
    assert "wrong-key" not in repr(found)


@pytest.mark.parametrize(
    "name",
    [
        *("../config.env", "%2e%2e/config.env", "..%2fconfig.env", "flux/../../config.env"),
        *("%2fetc/passwd", "flux%2f%E7%8C%AB%20a.png", "..%5cconfig.env", "a//b.png", "", "flux/"),
        *(".hidden.png", ".h/a.png", "%2ehidden.png", "flux/%00.png", "nothing.png", "flux"),
    ],
)
def test_urls_of_the_host_name_only_its_files(places: AllowedFolders, name: str) -> None:
    with pytest.raises(MediaError) as caught:
        parse_source(BEGIN + name, places)
    assert KEY not in str(caught.value)
    assert WRITTEN not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        *("{base}/config.env", "{base}/Plugin/x/d.png", "{base}/file/doc/b.png"),
        *("{base}/image-evil/c.png", "{base}/image/.hidden.png", "{base}/image/.h/a.png"),
        *("{base}/image/../config.env", "file://{base}/image/%2e%2e/config.env"),
        *("file://evil.test/image/flux/猫 a.png", "file://127.0.0.1/image/../config.env"),
        *("file://127.0.0.1/image/.hidden.png", "file://127.0.0.1/config.env"),
        *("file://vcp.example@evil.test/image/flux/猫 a.png", "file:///image/%2e%2e/config.env"),
        "{base}/../VCPChat/AppData/UserData/secret.png",
        "{base}/../VCPChat/AppData/UserData/attachments/.f.png",
        "/x/AppData/UserData/attachments/../secret.png",
        "/x/AppData/UserData/attachments/%2e%2e/secret.png",
        "/x/AppData/UserData/attachments/nothing.png",
        r"\\server\AppData\UserData\attachments\nothing.png",
    ],
)
def test_paths_outside_the_hosts_images_are_refused(
    places: AllowedFolders, base: Path, value: str
) -> None:
    with pytest.raises(MediaError):
        parse_source(value.replace("{base}", str(base)), places)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_out_of_the_hosts_images_is_not_followed(places: AllowedFolders, base: Path) -> None:
    (base / "image" / "out.png").symlink_to(base / "config.env")
    (base / "image" / "sub").symlink_to(base / "Plugin")
    for name in ("out.png", "sub/x/d.png"):
        with pytest.raises(MediaError):
            parse_source(BEGIN + name, places)
        with pytest.raises(MediaError):
            parse_source(str(base / "image" / name), places)


def test_without_port_or_key_no_url_is_mapped(base: Path) -> None:
    for host in (HostFiles(base, port=6005), HostFiles(base, "", 0, KEY, KEY)):
        places = AllowedFolders(None, host=host)
        for key in ("", WRITTEN):
            assert isinstance(parse_source(BEGIN.replace(WRITTEN, key) + FLUX, places), Url)


def test_keys_are_not_in_the_text_of_a_value(base: Path) -> None:
    assert KEY not in repr(HostFiles(base, "", 1, KEY, KEY))


def test_the_name_of_an_attachment_on_another_machine() -> None:
    assert attachment_name(r"D:\VCPChat\AppData\UserData\attachments\a\b.png") == "a/b.png"
    for other in ("/x/attachments/a.png", "/xAppData/UserData/attachments/a.png", "a.png"):
        assert attachment_name(other) is None
