"""Drive a headless Chromium over its DevTools protocol (chromedevtools.github.io)."""

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
    """A page with its own cookies and storage. ``console_errors``: errors its console has reported."""

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

    def _receive(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next message that matches; errors in messages before it are recorded."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            message: dict[str, Any] = json.loads(self._wire.recv())
            self._note(message)
            if matches(message):
                return message
        raise TimeoutError("the browser did not answer")

    def _note(self, message: Mapping[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.console_errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.console_errors.append(json.dumps(params["args"])[:500])
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console_errors.append(
                f"{params['entry']['text']} {params['entry'].get('url', '')}"
            )
        elif message.get("method") == "Page.lifecycleEvent" and params["name"] == "load":
            self._loaded.add(params["loaderId"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, or of the promise it returns."""
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
        """Return the value of an expression once it is truthy."""
        watch = f"""new Promise((done, failed) => {{
            const end = performance.now() + {TIMEOUT * 900};
            const look = () => {{
                let value; try {{ value = ({expression}); }} catch (problem) {{ value = null; }}
                if (value) done(value);
                else if (performance.now() > end) failed(new Error("the expression never became true"));
                else setTimeout(look, 15);
            }};
            look();
        }})"""
        return self.evaluate(watch)

    def open(self, url: str) -> None:
        """Open a URL and wait until its document is loaded."""
        loader = self.send("Page.navigate", url=url)["loaderId"]
        while loader not in self._loaded:
            self._receive(lambda message: message.get("method") == "Page.lifecycleEvent")

    def press(self, key: str) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        params = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **params, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **params)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click at the center of the element that a selector matches."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def swipe(self, selector: str, by: int) -> None:
        """Swipe horizontally over the element that a selector matches. ``by``: pixels."""
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
        """Set media features, with _ for -, such as ``prefers_color_scheme="dark"``."""
        media = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.send("Emulation.setEmulatedMedia", features=media)

    def speak(self, language: str) -> None:
        """Set ``navigator.language``, from the next page on."""
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
        """Open a page that shares nothing with others and may use the clipboard."""
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
    """Path of Chromium; skips the test if it is not installed."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed; `.ci/run` installs it on Debian")
    return found


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """Run a Chromium with its profile in an empty folder, until the end of the block."""
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
                lambda: _devtools_address(folder / "DevToolsActivePort", process),
                "Chromium did not start",
            )
            browser = Browser(port, path)
            yield browser
            browser.close()
            process.wait(TIMEOUT)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(TIMEOUT)


def _devtools_address(file: Path, process: subprocess.Popen[bytes]) -> tuple[int, str] | None:
    """Port and path that Chromium writes to a file once it listens; None until then."""
    assert process.poll() is None, "Chromium exited at start-up"
    with suppress(OSError, ValueError):
        port, path = file.read_text().splitlines()
        return int(port), path
    return None
