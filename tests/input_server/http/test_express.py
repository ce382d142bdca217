"""The handler in a Python host responds as the server does."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import requests

from input_server import register_routes
from input_server.auth import signing
from tests.input_server.hostile import KEY, ROUTE, folder, replay
from tests.input_server.registry import Registry, hosted
from tests.waiting import TIMEOUT


@pytest.mark.skipif(sys.platform == "win32", reason="the corpus holds POSIX links and pipes")
@pytest.mark.parametrize("raw", [True, False], ids=["raw target", "decoded by the host"])
def test_hostile_requests_are_refused(tmp_path: Path, raw: bool) -> None:
    app = Registry()
    config = {"COMFYUI_MOUNTS": f"m:{folder(tmp_path)}", "COMFYUI_ACCESS_KEY": KEY}
    register_routes(app, config, str(tmp_path))
    with hosted(app, raw=raw) as port:
        first = requests.get(f"http://127.0.0.1:{port}{ROUTE}/m/nums.txt", timeout=TIMEOUT).headers
        assert replay(port, ROUTE, first["ETag"], first["Last-Modified"]) == []


@pytest.mark.parametrize("raw", [True, False], ids=["raw target", "decoded by the host"])
def test_every_route_works_in_a_python_host(tmp_path: Path, raw: bool) -> None:
    app = Registry()
    config = {"COMFYUI_MOUNTS": f"m:{folder(tmp_path)}", "COMFYUI_ACCESS_KEY": KEY}
    register_routes(app, config, str(tmp_path))
    with hosted(app, raw=raw) as port:
        base = f"http://127.0.0.1:{port}"
        assert requests.get(f"{base}{ROUTE}/m/name.txt", timeout=TIMEOUT).text == "tobi"
        bearer = {"Authorization": f"Bearer {KEY}"}
        url = f"{base}/comfyui_server/files/m/name.txt"
        assert requests.get(url, headers=bearer, timeout=TIMEOUT).text == "tobi"
        assert (
            requests.get(f"{base}/pw={KEY}/files/comfyui/m/name.txt", timeout=TIMEOUT).text
            == "tobi"
        )
        part = requests.get(
            f"{base}{ROUTE}/m/nums.txt", headers={"Range": "bytes=2-4"}, timeout=TIMEOUT
        )
        assert (part.status_code, part.text) == (206, "345")
        gallery = requests.get(f"{base}/comfyui_server/pw={KEY}/gallery/m/", timeout=TIMEOUT)
        assert gallery.headers["Content-Type"].startswith("text/html")
        listed = requests.get(
            f"{base}/comfyui_server/pw={KEY}/gallery/m/list", timeout=TIMEOUT
        ).json()
        assert listed["total"] > 3
        listed = requests.get(
            f"{base}/pw={KEY}/files/comfyui/gallery/m/list", timeout=TIMEOUT
        ).json()
        assert listed["total"] > 3
        signed = signing.query(KEY, "files", "m", ("name.txt",), int(time.time()) + 60)
        url = f"{base}/pw=signed/files/comfyui/m/name.txt?{signed}"
        assert requests.get(url, timeout=TIMEOUT).text == "tobi"
        assert requests.get(f"{base}/metrics", timeout=TIMEOUT).text == "", (
            "this URL belongs to the host"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_python_host_leaves_no_file_open(tmp_path: Path) -> None:
    app = Registry()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("text", "utf-8")
    config = {"COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}", "COMFYUI_ACCESS_KEY": KEY}
    register_routes(app, config, str(tmp_path))
    with hosted(app, raw=True) as port:
        assert (
            requests.get(f"http://127.0.0.1:{port}{ROUTE}/m/a.txt", timeout=TIMEOUT).text == "text"
        )
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [path for path in held if path.startswith(str(tmp_path))]
