"""The sample configuration on a real nginx: Python decides, nginx sends."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import requests
from PIL import Image

from demo.front import nginx_in_front
from tests.input_server.running import KEY, Running

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="nginx is not here; `.ci/run` installs it on Debian"
)


@dataclass(frozen=True)
class Front:
    """nginx before a running server, as the sample configures it."""

    url: str
    way: str = "/comfyui_server/pw={key}/files/m/"

    def get(self, path: str, key: str = KEY, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        address = f"{self.url}{self.way.format(key=key)}{path}"
        return requests.get(address, headers=named, timeout=10)


@pytest.fixture(params=["asked and kept", "by X-Accel-Redirect"])
def front(request: pytest.FixtureRequest, asked: Front) -> Front:
    """Both ways of the sample: the second takes an address that its faster block leaves alone."""
    way = "/pw={key}/files/comfyui/m/"
    return asked if request.param == "asked and kept" else replace(asked, way=way)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    base = tmp_path_factory.mktemp("nginx")
    base.chmod(0o755)
    folder = base / "m"
    (folder / "图 sub").mkdir(parents=True)
    (folder / "图 sub" / "a #1 b.png").write_bytes(picture())
    (folder / "large.bin").write_bytes(os.urandom(3 * 2**20))
    (folder / "text.txt").write_text("a line\n" * 1000, "utf-8")
    (folder / "page.html").write_text("<script>alert(1)</script>", "utf-8")
    (base / "secret.txt").write_text("SECRET", "utf-8")
    (folder / "link.txt").symlink_to("../secret.txt")
    settings = {
        "INPUT_SERVER_OFFLOAD": "x-accel:/protected",
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
    }
    with (
        Running(folder, **settings) as server,
        nginx_in_front(base, folder, server.url) as (url, _),
    ):
        yield Front(url)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((200, 100), 80).save(buffer, "PNG")
    return buffer.getvalue()


ODD = "%E5%9B%BE%20sub/a%20%231%20b.png"


def test_a_file_comes_whole_with_its_guards(front: Front) -> None:
    for _ in range(3):
        answer = front.get(ODD)
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).size == (200, 100)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "public, max-age=3600"
        assert "a%20%231%20b.png" in answer.headers["Content-Disposition"]
    assert front.get("page.html").headers["Content-Disposition"].startswith("attachment")


def test_nginx_itself_does_parts_and_conditions(front: Front) -> None:
    whole = front.get("large.bin")
    assert len(whole.content) == 3 * 2**20
    part = front.get("large.bin", Range="bytes=1000000-1000009")
    assert (part.status_code, part.content) == (206, whole.content[1000000:1000010])
    assert front.get("large.bin", If_None_Match=whole.headers["ETag"]).status_code == 304


def test_copies_and_compressed_texts_come_from_their_own_folder(front: Front) -> None:
    small = front.get(f"{ODD}?w=50&fmt=webp")
    assert Image.open(io.BytesIO(small.content)).size == (50, 25)
    assert small.headers["Content-Type"] == "image/webp"
    raw = requests.get(
        f"{front.url}{front.way.format(key=KEY)}text.txt",
        headers={"Accept-Encoding": "gzip"},
        stream=True,
        timeout=10,
    )
    assert raw.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw.raw.read(decode_content=False)) == b"a line\n" * 1000
    assert front.get("text.txt", Accept_Encoding="identity").content == b"a line\n" * 1000


def test_a_yes_is_for_that_key_alone_and_a_no_is_pythons_own(front: Front) -> None:
    assert front.get(ODD).status_code == 200
    wrong = front.get(ODD, key="wrong")
    assert (wrong.status_code, wrong.text) == (401, "Unauthorized.")
    assert front.get("absent.png").text == "Not found."
    assert front.get("link.txt").status_code == 403
    assert front.get(".hidden").status_code == 403
    bad = front.get("large.bin?w=10")
    assert (bad.status_code, bad.text) == (400, "Only pictures can be made smaller.")


@pytest.mark.parametrize(
    "path", ["/protected/m/large.bin", "/protected/_cache/x", "/comfyui-ask", "/protected/"]
)
def test_nobody_gets_in_by_another_door(front: Front, path: str) -> None:
    assert requests.get(front.url + path, timeout=10).status_code == 404


def test_the_client_cannot_ask_in_nginxs_name(front: Front) -> None:
    answer = front.get(ODD, X_Offload_Ask="1")
    assert answer.status_code == 200
    assert "X-File" not in answer.headers
    gallery = f"{front.url}/comfyui_server/pw={KEY}/gallery/m/"
    asked = requests.get(gallery, headers={"X-Offload-Ask": "1"}, timeout=10)
    assert asked.status_code == requests.get(gallery, timeout=10).status_code


def test_a_wrong_key_counts_once_and_shuts_out_the_right_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    base = tmp_path_factory.mktemp("guessing")
    base.chmod(0o755)
    settings = {
        "INPUT_SERVER_OFFLOAD": "x-accel:/protected",
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
        "INPUT_SERVER_LOCK_EXEMPT": "none",
        "INPUT_SERVER_LOCK_AFTER": "9",
    }
    with (
        Running(base / "m", **settings) as server,
        nginx_in_front(base, server.folder, server.url) as (url, _),
    ):
        statuses = [
            requests.get(f"{url}/comfyui_server/pw=x/files/m/a", timeout=20).status_code
            for _ in range(4)
        ]
        assert statuses == [401] * 4
        told = server.get("/metrics").text
        assert 'comfyui_files_failures_total{why="wrong key"} 8.0' in told, "asked, then sent"
        while (status := Front(url).get("a", key="x").status_code) == 401:
            statuses.append(status)
            assert len(statuses) < 30
        assert status == 429
        assert Front(url).get("a").status_code == 429
