"""A headless Chromium, driven over its DevTools protocol (chromedevtools.github.io)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import websocket

from tests.waiting import TIMEOUT, wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
KEYS = {
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "ArrowUp": 38,
    "ArrowDown": 40,
    "End": 35,
    "Enter": 13,
    "Escape": 27,
    "Home": 36,
    "Tab": 9,
}


class Tab:
    """One page with cookies and storage of its own. ``troubles``: what its console complained of."""

    def __init__(self, wire: websocket.WebSocket) -> None:
        self._wire = wire
        self._ids = itertools.count(1)
        self._loaded: set[str] = set()
        self.console_errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.setLifecycleEventsEnabled", enabled=True)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol."""
        number = next(self._ids)
        self._wire.send(json.dumps({"id": number, "method": method, "params": params}))
        message = self._receive(lambda message: message.get("id") == number)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next wanted message; what comes before it is looked at for troubles."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            message: dict[str, Any] = json.loads(self._wire.recv())
            self._note(message)
            if wanted(message):
                return message
        raise TimeoutError("the browser did not answer")

    def _note(self, message: Mapping[str, Any]) -> None:
        told = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.console_errors.append(json.dumps(told["exceptionDetails"])[:500])
        elif message.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.console_errors.append(json.dumps(told["args"])[:500])
        elif message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.console_errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif message.get("method") == "Page.lifecycleEvent" and told["name"] == "load":
            self._loaded.add(told["loaderId"])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise that it gives."""
        result = self.send(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, (expression, result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression once it is true; it is looked at between two frames."""
        watch = f"""new Promise((done, failed) => {{
            const end = performance.now() + {TIMEOUT * 900};
            const look = () => {{
                let value; try {{ value = ({expression}); }} catch (problem) {{ value = null; }}
                if (value) done(value);
                else if (performance.now() > end) failed(new Error("it never came true"));
                else setTimeout(look, 15);
            }};
            look();
        }})"""
        return self.evaluate(watch)

    def open(self, url: str) -> None:
        """Go to an address; done once its document has been loaded."""
        loader = self.send("Page.navigate", url=url)["loaderId"]
        while loader not in self._loaded:
            self._receive(lambda message: message.get("method") == "Page.lifecycleEvent")

    def press(self, key: str) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        told = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """A click of the mouse at the middle of what a selector finds."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def swipe(self, selector: str, by: int) -> None:
        """A finger that goes sideways over what a selector finds."""
        x, y = self._middle(selector)
        moves = [("touchStart", 0.0), *(("touchMove", step / 5) for step in range(1, 6))]
        for kind, part in moves:
            self.send(
                "Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x + by * part, "y": y}]
            )
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _middle(self, selector: str) -> tuple[float, float]:
        found = self.wait(
            f"(box => box && box.width && [box.x + box.width / 2, box.y + box.height / 2])"
            f"(document.querySelector({json.dumps(selector)})?.getBoundingClientRect())"
        )
        return found[0], found[1]

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, **features: str) -> None:
        """Media features, with _ for -, as ``prefers_color_scheme="dark"``."""
        told = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.send("Emulation.setEmulatedMedia", features=told)

    def speak(self, language: str) -> None:
        """The language of ``navigator.language``, from the next page on."""
        agent = self.evaluate("navigator.userAgent")
        self.send("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


class Browser:
    """A running Chromium."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._wire = _connect(port, path)
        self._ids = itertools.count(1)

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._wire.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._wire.recv())
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A page that shares nothing with others, and may use the clipboard."""
        context = self._send("Target.createBrowserContext")["browserContextId"]
        self._send(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
            browserContextId=context,
        )
        target = self._send("Target.createTarget", url="about:blank", browserContextId=context)[
            "targetId"
        ]
        wire = _connect(self._port, f"/devtools/page/{target}")
        try:
            tab = Tab(wire)
            tab.send("Emulation.setFocusEmulationEnabled", enabled=True)
            yield tab
        finally:
            wire.close()
            self._send("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        with suppress(OSError, websocket.WebSocketException):
            self._send("Browser.close")
        self._wire.close()


def _connect(port: int, path: str) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=TIMEOUT)


def program() -> str:
    """Where Chromium is; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed; `.ci/run` installs it on Debian")
    return found


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """A Chromium that keeps its things in an empty folder, until the end of the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        process = subprocess.Popen(
            [program(), *OPTIONS, f"--user-data-dir={folder}"],
            env={**os.environ, "TMPDIR": temporary},  # it leaves files there
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port, path = wait_until(
                lambda: _told(folder / "DevToolsActivePort", process), "Chromium did not start"
            )
            browser = Browser(port, path)
            yield browser
            browser.close()
            process.wait(TIMEOUT)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(TIMEOUT)


def _told(file: Path, process: subprocess.Popen[bytes]) -> tuple[int, str] | None:
    """The port and the path that Chromium writes once it listens."""
    assert process.poll() is None, "Chromium ended as it began"
    with suppress(OSError, ValueError):
        port, path = file.read_text().splitlines()
        return int(port), path
    return None
