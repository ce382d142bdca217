"""Downloads through a proxy: it is given checked addresses, or names that it may resolve."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from comfyui_pipeline.errors import DownloadRefused, MediaError, SettingsError
from comfyui_pipeline.media import address_guard, proxies
from comfyui_pipeline.media.download import DownloadPolicy, download
from input_server.light_dataclasses import replace
from tests.conftest import png
from tests.waiting import TIMEOUT

PNG = png(8, 8)
PUBLIC = "93.184.216.34"


class Tunnels(BaseHTTPRequestHandler):
    """A proxy. Every tunnel leads to itself, where it is the server of every host."""

    wanted: list[str]
    logins: list[str | None]
    hosts: list[str | None]
    refuse: list[int]

    def log_message(self, *_: Any) -> None:
        return

    def do_CONNECT(self) -> None:
        self.wanted.append(self.path)
        self.logins.append(self.headers.get("Proxy-Authorization"))
        if self.refuse:
            self.send_error(self.refuse[0])
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = False

    def do_GET(self) -> None:
        self.hosts.append(self.headers.get("Host"))
        place = {"/inside": "http://10.0.0.5/x.png", "/hop": "/x.png"}.get(self.path)
        self.send_response(302 if place else 200)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", "0" if place else str(len(PNG)))
        self.end_headers()
        self.wfile.write(b"" if place else PNG)
        self.close_connection = True


@pytest.fixture
def proxy() -> Iterator[Any]:
    kept: dict[str, Any] = {"wanted": [], "logins": [], "hosts": [], "refuse": []}
    handler = type("Own", (Tunnels,), kept)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        yield handler
        server.shutdown()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Host -> addresses; other names are unknown, addresses are themselves."""
    known: dict[str, list[str]] = {}
    real: Callable[..., Any] = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: int) -> list[Any]:
        if host not in known and not host[:1].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [real(address, port, *rest)[0] for address in known.get(host, [host])]

    monkeypatch.setattr(address_guard.socket, "getaddrinfo", look_up)
    return known


def policy(proxy: Any, *allow: str, trusted: bool = False) -> DownloadPolicy:
    return DownloadPolicy(
        allow, proxy.url, trusted, read_seconds=TIMEOUT, total_seconds=TIMEOUT, connect_seconds=9
    )


def test_a_tunnel_leads_to_the_address_that_was_checked(
    proxy: Any, names: dict[str, list[str]]
) -> None:
    names["pictures.example"] = [PUBLIC]
    assert download("http://pictures.example/x.png", policy(proxy)) == PNG
    assert proxy.wanted == [f"{PUBLIC}:80"]
    assert proxy.hosts == ["pictures.example"]


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_a_private_address_is_refused_with_a_proxy_too(
    proxy: Any, names: dict[str, list[str]], trusted: bool, address: str
) -> None:
    names["inside.example"] = [PUBLIC, address]
    for host in ("inside.example", address):
        with pytest.raises(DownloadRefused, match="private IP address"):
            download(f"http://{host}/x.png", policy(proxy, trusted=trusted))
    assert proxy.wanted == []


def test_redirects_are_checked_again(proxy: Any, names: dict[str, list[str]]) -> None:
    names["pictures.example"] = [PUBLIC]
    assert download("http://pictures.example/hop", policy(proxy)) == PNG
    with pytest.raises(DownloadRefused, match="private IP address"):
        download("http://pictures.example/inside", policy(proxy, trusted=True))
    assert proxy.wanted == [f"{PUBLIC}:80", f"{PUBLIC}:80", "pictures.example:80"]


def test_a_name_that_only_the_proxy_knows_has_to_be_allowed(proxy: Any, names: Any) -> None:
    url = "http://far.example/x.png"
    with pytest.raises(DownloadRefused) as caught:
        download(url, policy(proxy))
    assert "DOWNLOAD_PROXY_TRUSTED" in str(caught.value)
    assert "Add far.example to DOWNLOAD_ALLOW" in str(caught.value)
    assert proxy.wanted == []
    assert download(url, policy(proxy, "far.example")) == PNG
    assert download(url, policy(proxy, trusted=True)) == PNG
    assert proxy.wanted == ["far.example:80"] * 2


def test_a_trusted_proxy_resolves_what_is_known_here_too(
    proxy: Any, names: dict[str, list[str]]
) -> None:
    names["wrong.example"] = [PUBLIC]
    assert download("http://wrong.example/x.png", policy(proxy, trusted=True)) == PNG
    names["fake.example"] = ["198.18.0.7"]  # as a TUN proxy answers
    assert download("http://fake.example/x.png", policy(proxy, trusted=True)) == PNG
    assert proxy.wanted == ["wrong.example:80", "fake.example:80"]
    with pytest.raises(DownloadRefused):
        download("http://fake.example/x.png", policy(proxy))


def test_a_trusted_proxy_is_used_for_the_usual_ports_only(
    proxy: Any, names: dict[str, list[str]]
) -> None:
    names["known.example"] = [PUBLIC]
    for host in ("far.example", "known.example"):
        with pytest.raises(DownloadRefused, match="ports 80 and 443"):
            download(f"http://{host}:22/x.png", policy(proxy, trusted=True))
    allowed = policy(proxy, "far.example:8080", trusted=True)
    assert download("http://far.example:8080/x.png", allowed) == PNG
    assert proxy.hosts == ["far.example:8080"]


def test_an_allowed_machine_of_this_network_is_reached_without_the_proxy(
    proxy: Any, names: dict[str, list[str]]
) -> None:
    names["nas.local"] = ["127.0.0.1"]
    own = proxy.url.replace("127.0.0.1", "nas.local") + "/x.png"
    assert download(own, policy(proxy, "nas.local")) == PNG
    assert proxy.wanted == []


def test_the_proxys_password_is_sent_and_never_shown(proxy: Any, names: Any) -> None:
    login = replace(policy(proxy, "far.example"), proxy=proxy.url.replace("//", "//me:p%40ss@"))
    assert download("http://far.example/x.png", login) == PNG
    assert proxy.logins == ["Basic " + base64.b64encode(b"me:p@ss").decode()]
    proxy.refuse.append(407)
    with pytest.raises(MediaError) as caught:
        download("http://far.example/x.png", login)
    shown = str(caught.value) + repr(login)
    assert "p%40ss" not in shown
    assert "p@ss" not in shown
    assert f"through the proxy {proxy.url[7:]}" in str(caught.value)


def test_a_proxy_that_is_gone_is_named(proxy: Any, names: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    gone = replace(policy(proxy, "far.example"), proxy=url)
    with pytest.raises(MediaError, match="DOWNLOAD_PROXY"):
        download("http://far.example/x.png", gone)


def test_a_proxy_that_never_answers_does_not_outlast_the_download(proxy: Any, names: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        slow = replace(policy(proxy, "far.example"), proxy=url, total_seconds=0.5)
        with pytest.raises(MediaError, match=r"not downloaded within 0\.5 s"):
            download("http://far.example/x.png", slow)
        assert select.select([silent], [], [], TIMEOUT)[0]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the environment says about proxies."""
    found: dict[str, str] = {}
    monkeypatch.setattr("urllib.request.getproxies", lambda: found)
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host == "direct.example")
    return found


def test_the_setting_comes_before_the_environment(variables: dict[str, str]) -> None:
    def shown(setting: str, scheme: str = "https", host: str = "a.example") -> str:
        found = proxies.find_proxy(scheme, host, setting, trusted=False)
        return found.shown if found else ""

    assert shown("") == ""
    assert shown("10.0.0.1:7890") == "10.0.0.1:7890"
    assert shown("http://[::1]") == "[::1]:80"
    variables["all"] = "http://everything:1"
    assert shown("") == "everything:1"
    variables.update(https="http://secure:2", http="plain:3")
    assert (shown(""), shown("", "http")) == ("secure:2", "plain:3")
    assert shown("", host="direct.example") == ""
    assert shown("None") == ""
    assert shown("http://own:4", host="direct.example") == "own:4"
    variables["https"] = "socks5://127.0.0.1:1080"
    assert shown("") == ""


@pytest.mark.parametrize(
    "value",
    ["socks5://127.0.0.1:1080", "https://proxy:1", "http://:1", "http://a:99999", "http://a/b"],
)
def test_a_setting_that_is_no_http_proxy_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        proxies.check_setting(value)
    assert value not in str(caught.value)


@pytest.mark.parametrize("value", ["none", "http://me:pass@127.0.0.1:7890/", "127.0.0.1:7890"])
def test_proxies_that_can_be_set(value: str) -> None:
    proxies.check_setting(value)


def test_a_call_downloads_through_the_proxy_of_its_settings(ready: Any, proxy: Any) -> None:
    call = {"workflow": "invert_image", "image": "http://far.invalid/x.png"}
    refused = ready.call(call, DOWNLOAD_PROXY=proxy.url)
    assert "DOWNLOAD_PROXY_TRUSTED" in refused.error
    done = ready.call(call, DOWNLOAD_PROXY=proxy.url, DOWNLOAD_PROXY_TRUSTED="true")
    assert done.result["complete"] is True
    assert proxy.wanted == ["far.invalid:80"]
    wrong = ready.call(call, DOWNLOAD_PROXY="socks5://127.0.0.1:1")
    assert "DOWNLOAD_PROXY is not the URL of an HTTP proxy" in wrong.error
