"""Makes recorded calls, requests and commands against one version of the project.

What comes back is reduced to what a host or a script may rely on: statuses, structured fields,
queued prompts, headers and file contents. Wording is left out, except for the names in an error.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from PIL import Image

from devtools.isolated import without_settings
from tests.compatibility.comfyui import DATA, RESULT, Recorder, classes
from tests.waiting import TIMEOUT

RECORDED = DATA / "previous_version"
PROJECT_PARTS = (
    "comfyui_pipeline",
    "embedded_comfyui",
    "input_server",
    "workflows",
    "comfyui_plugin.py",
    "plugin-manifest.json",
)
NEW_TIMINGS = frozenset({"run"})
TEXTS = ("warnings", "guesses", "problems", "notes")
"""Result fields that are lists of sentences: only their number counts."""
RANDOM = "<random>"
DAY = 24 * 3600
FILE_TIME = 1_700_000_000
KEY = "a-long-access-key-of-the-server"
SIGNING_KEY = "a-signing-key-of-the-server"
HEADERS = (
    "Accept-Ranges",
    "Allow",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Range",
    "Content-Type",
    "Last-Modified",
    "Location",
    "Referrer-Policy",
    "Vary",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Content-Type-Options",
    "X-Robots-Tag",
)
PRESENT = ("Content-Security-Policy", "ETag", "Retry-After", "WWW-Authenticate")
"""Headers of which only the presence counts."""
SERVERS = {"plain": None, "full": "file_server.env"}
"""The file servers that the requests go to: set by default, or by the recorded file."""
LINK = re.compile(r"https?://[^\s)\"']+")


@dataclass(frozen=True)
class Installation:
    """A copy of one version in ``base/plugin``, with the files that calls and requests name."""

    base: Path
    environment: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)

    @property
    def plugin(self) -> Path:
        return self.base / "plugin"

    def fill(self, value: Any) -> Any:
        """Put this machine's paths and ports into recorded text: ``{base}``, ``{comfyui}``…"""
        if isinstance(value, str):
            for name, text in {"base": str(self.base), **self.values}.items():
                value = value.replace(f"{{{name}}}", text)
            return value
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return value

    def fill_file(self, text: str) -> str:
        """``fill`` for a file of settings, where a backslash in quotes is an escape."""
        return str(self.fill(text.replace("{base}", self.base.as_posix())))

    def strip(self, value: Any) -> Any:
        """The reverse of ``fill``, also inside longer texts."""
        if isinstance(value, str):
            value = value.replace("\\", "/") if str(self.base) in value else value
            for name, text in {"base": self.base.as_posix(), **self.values}.items():
                value = value.replace(text, f"{{{name}}}")
            return value
        if isinstance(value, list):
            return [self.strip(item) for item in value]
        if isinstance(value, dict):
            return {self.strip(key): self.strip(item) for key, item in value.items()}
        return value


def install(version: Path, base: Path) -> Installation:
    """Copy a version of the project and lay out the folders that the recorded cases use."""
    ignore = shutil.ignore_patterns("config.env", "mounts.json", "__pycache__", ".*")
    for name in PROJECT_PARTS:
        source, target = version / name, base / "plugin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    for name in ("attachments", "allowed", "comfy in", "comfy out"):
        (base / name).mkdir()
    shutil.copy(DATA / "pixels" / "px_dev_b.png", base / "attachments" / "photo.png")
    shutil.copy(DATA / "pixels" / "px_dev_c.png", base / "allowed" / "图 c.png")
    shutil.copy(DATA / "pixels" / "px_dev_m.png", base / "allowed" / "mask.png")
    (base / "comfy out" / "result_00001_.png").write_bytes(RESULT)
    for name, workflow in json.loads((RECORDED / "workflows.json").read_text("utf-8")).items():
        path = base / "plugin" / "workflows" / f"{name}.json"
        path.write_text(json.dumps(workflow, ensure_ascii=False), "utf-8")
    (base / "object_info.json").write_text(json.dumps(classes()), "utf-8")
    (base / "deny.txt").write_text("198.51.100.0/24\n", "utf-8")
    _fill_mount(base / "mount")
    return Installation(base, without_settings(os.environ))


def _fill_mount(mount: Path) -> None:
    (mount / "sub").mkdir(parents=True)
    shutil.copy(DATA / "pixels" / "px_dev_a.png", mount / "a.png")
    shutil.copy(DATA / "pixels" / "px_dev_b.png", mount / "图 b.png")
    shutil.copy(DATA / "media" / "film.mp4", mount / "sub" / "film.mp4")
    (mount / "words.txt").write_text("some words, 一些文字\n" * 200, "utf-8", newline="")
    (mount / "page.html").write_text("<script>alert(1)</script>", "utf-8", newline="")
    (mount / ".hidden").write_text("hidden", "utf-8")
    (mount / "empty.bin").write_bytes(b"")
    for number, path in enumerate(sorted(mount.rglob("*"))):
        os.utime(path, (FILE_TIME + number, FILE_TIME + number))


def recorded(name: str) -> list[dict[str, Any]]:
    """The cases of one kind: ``calls``, ``urls`` or ``commands``."""
    cases: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    return cases


# -- calls ------------------------------------------------------------------------------------------


def make_call(
    installation: Installation, case: Mapping[str, Any], recorder: Recorder
) -> dict[str, Any]:
    """Make one call as a host does; what it returned and what ComfyUI received."""
    config = installation.plugin / "config.env"
    config.unlink(missing_ok=True)
    if "config" in case:
        dropped = tuple(case.get("without", ()))
        lines = (RECORDED / case["config"]).read_text("utf-8").splitlines()
        kept = [line for line in lines if not (dropped and line.startswith(dropped))]
        config.write_text(installation.fill_file("\n".join(kept)), "utf-8")
    recorder.cancelled += recorder.prompts  # no job of an earlier case is left in the queue
    for call in case.get("before", ()):
        answer = json.loads(_plugin(installation, {**case, "call": call}).stdout)
        installation.values["submitted"] = answer["result"]["prompt_id"]
    bodies, requests = len(recorder.bodies), len(recorder.requests)
    done = _plugin(installation, case)
    answer = json.loads(done.stdout.decode("utf-8"))
    seen = {"exit": done.returncode, "status": answer["status"]}
    if answer["status"] == "error":
        return {**seen, "names": names_in(answer["error"], case)}
    return installation.strip(
        {
            **seen,
            "result": _result(answer["result"], installation),
            "queued": _queued(recorder.bodies[bodies:], answer["result"]),
            "uploads": sum(path == "/upload/image" for path, _ in recorder.requests[requests:]),
            "authorization": _logins(recorder.requests[requests:]),
        }
    )


def _logins(requests: Sequence[tuple[str, str | None]]) -> list[str]:
    """The Authorization headers, except of requests that a cache on disk may have saved."""
    return sorted({str(login) for path, login in requests if "/object_info" not in path})


def _plugin(
    installation: Installation, case: Mapping[str, Any]
) -> subprocess.CompletedProcess[bytes]:
    call = case["call"]
    text = call if isinstance(call, str) else json.dumps(installation.fill(call))
    environment = {
        "COMFYUI_BASE_URL": installation.values["comfyui"],
        "FILE_SERVER_ACCESS_KEY": "key-of-the-calls",
        **installation.fill(case.get("environment", {})),
    }
    if "config" in case:
        environment = installation.fill(case.get("environment", {}))
    return subprocess.run(
        [sys.executable, "comfyui_plugin.py", *case.get("arguments", ())],
        cwd=installation.plugin,
        env={**installation.environment, **environment},
        input=text.encode(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )


COMMON = frozenset(
    {"command", "image", "inputs", "not", "json", "text2img_api", "waiting", "workflow"}
)
"""Words that an error may hold without naming anything of the call."""


def names_in(error: str, case: Mapping[str, Any]) -> list[str]:
    """The words of a case that an error names: keys, short values and settings."""
    words = set(case.get("environment", {})) | set(
        re.findall(r"[\w./:-]{2,40}", json.dumps(case["call"]))
    )
    words -= COMMON
    return sorted(word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", error))


def _queued(bodies: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> list[Any]:
    """The prompts at ComfyUI, and whether the client id and the account's key came along."""
    return [
        {
            "prompt": _without_random(body["prompt"], _random_seeds(result)),
            "client": str(body.get("client_id", "")).rpartition("-")[0][:14],
            "extra_data": sorted({*body.get("extra_data", {})} - {"comfyui_plugin"}),
        }
        for body in sorted(bodies, key=lambda body: json.dumps(body["prompt"], sort_keys=True))
    ]


def _random_seeds(result: Mapping[str, Any]) -> set[int]:
    parts = result.get("parts", [result])
    return {
        change["value"]
        for part in parts
        for change in part.get("changes", ())
        if change["from"] == "drawn"
    }


def _without_random(value: Any, seeds: set[int]) -> Any:
    if isinstance(value, dict):
        return {key: _without_random(item, seeds) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_random(item, seeds) for item in value]
    return RANDOM if type(value) is int and value in seeds else value


def _result(result: Mapping[str, Any], installation: Installation) -> dict[str, Any]:
    fields = dict(result)
    content = fields.pop("content", None)
    if content is not None:
        fields["content"] = [part["type"] for part in content]
        text = content[0]["text"]
        fields["links"] = sorted(_plain_link(link) for link in LINK.findall(text))
    if "parts" in fields:
        fields["parts"] = [_result(part, installation) for part in fields["parts"]]
    if "outputs" in fields:
        fields["outputs"] = [_output(output) for output in fields["outputs"]]
    if "timings_ms" in fields:
        fields["timings_ms"] = sorted(set(fields["timings_ms"]) - NEW_TIMINGS)
    if "prompt_id" in fields:
        fields["prompt_id"] = "<id>"
    for name in ("running", "pending"):
        if name in fields:
            fields[name] = len(fields[name])
    if "error" in fields:
        fields["error"] = "<text>"
    for name in TEXTS:
        if name in fields:
            fields[name] = len(fields[name])
    return _without_random(fields, _random_seeds(result))


def _output(output: Mapping[str, Any]) -> dict[str, Any]:
    """One output; the file is known by its pixels, as its bytes depend on the machine's zlib."""
    fields = dict(output)
    path = fields.get("path")
    if path and fields["kind"] == "image":
        content = Path(path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == fields.pop("sha256")
        assert len(content) == fields.pop("bytes")
        with Image.open(io.BytesIO(content)) as image:
            fields["pixels"] = hashlib.sha256(image.convert("RGBA").tobytes()).hexdigest()
    if fields.get("url"):
        fields["url"] = _plain_link(fields["url"])
    for name in ("path", "file"):
        if fields.get(name):
            fields[name] = re.sub(r"\b[0-9a-f]{8,}\b", "<id>", fields[name])
    for name in ("note", "no_url"):
        if name in fields:
            fields[name] = "<text>"
    return fields


def _plain_link(link: str) -> str:
    """A URL without what changes from call to call."""
    link = re.sub(r"([?&](?:t|exp))=\d+", r"\1=<n>", link)
    link = re.sub(r"([?&]sig)=[\w%-]+", r"\1=<s>", link)
    return re.sub(r"\b[0-9a-f]{8,}\b", "<id>", link)


# -- the file server --------------------------------------------------------------------------------


@contextmanager
def file_server(installation: Installation, config: str | None) -> Iterator[int]:
    """Run the file server, set by a recorded file or by default; yields its port."""
    settings = {"COMFYUI_MOUNTS": "m:{base}/mount", "COMFYUI_ACCESS_KEY": KEY}
    settings["INPUT_SERVER_SIGNING_KEY"] = SIGNING_KEY
    file = installation.plugin / "input_server" / "config.env"
    if config is not None:
        text = (RECORDED / config).read_text("utf-8")
        file.write_text(installation.fill_file(text), "utf-8")
        settings = {}
    process = subprocess.Popen(
        [sys.executable, "-m", "input_server", "--port", "0", "--stop-with-stdin"],
        cwd=installation.plugin,
        env={**installation.environment, **installation.fill(settings)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        first = process.stdout.readline()
        assert "http" in first, "".join(log)
        yield int(first.rpartition(":")[2])
    finally:
        process.stdin.close()
        process.wait(TIMEOUT)
        process.stdout.close()
        reader.join(TIMEOUT)
        process.stderr.close()
        file.unlink(missing_ok=True)


def fetch(port: int, case: Mapping[str, Any]) -> dict[str, Any]:
    """Make one recorded request; status, headers and what the body holds."""
    headers = dict(case.get("headers", {}))
    target = case["target"]
    if "signed" in case:
        kind, alias, *names = case["signed"]
        key = case.get("signing_key", SIGNING_KEY)
        joined = f"{target}{'&' if '?' in target else '?'}"
        expires = case["expires"] if case["expires"] != "{soon}" else int(time.time()) + DAY
        target = joined + signature(key, kind, alias, names, expires)
    if "after" in case:  # a condition on what an earlier response said
        first = _request(port, "GET", target, {})[1]
        headers[case["after"][0]] = first[case["after"][1]]
    status, got, body = _request(port, case.get("method", "GET"), target, headers)
    seen: dict[str, Any] = {"status": status}
    plain = got.get("Content-Type", "").startswith("text/plain") and status >= 400
    seen["headers"] = {name: got[name] for name in HEADERS if name in got}
    seen["headers"] |= {name: "<present>" for name in PRESENT if name in got}
    if not plain and case.get("body", "bytes") == "bytes":
        seen["headers"]["Content-Length"] = got.get("Content-Length")
    seen["body"] = "<text>" if plain and body else _body(case.get("body", "bytes"), body)
    return seen


def _request(
    port: int, method: str, target: str, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, target, headers=dict(headers))
        response = connection.getresponse()
        got = {name.title(): value for name, value in response.getheaders()}
        names = {name.title(): name for name in (*HEADERS, *PRESENT)}
        return response.status, {names.get(n, n): v for n, v in got.items()}, response.read()
    finally:
        connection.close()


def _body(how: str, body: bytes) -> Any:
    if how == "image":
        with Image.open(io.BytesIO(body)) as image:
            return {"format": image.format, "size": list(image.size)}
    if how == "json":
        return _without_times(json.loads(body))
    if how == "page":
        return sorted(re.findall(rb"<(?:html|title|script|style)\b", body))[0].decode()
    if how == "metrics":
        found = re.findall(rb"^# TYPE (\w+) (\w+)", body, re.MULTILINE)
        return sorted(f"{name.decode()} {kind.decode()}" for name, kind in found)
    if how == "gzip":
        return hashlib.sha256(gzip.decompress(body)).hexdigest()
    return hashlib.sha256(body).hexdigest() if body else ""


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "<next>" if k == "next" and v else _without_times(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def signature(key: str, kind: str, alias: str, names: Sequence[str], expires: int) -> str:
    """``exp=…&sig=…`` as the previous version wrote it, computed without the product's code."""
    salt = b"comfyui input server, signed address"
    message = f"{expires}|" + "".join(f"{len(part)}:{part}" for part in (kind, alias, *names))
    derived = hmac.new(key.encode(), salt, hashlib.sha256).digest()
    digest = hmac.new(derived, message.encode(), hashlib.sha256).digest()
    return f"exp={expires}&sig={quote(base64.urlsafe_b64encode(digest).rstrip(b'=').decode())}"


# -- command lines ----------------------------------------------------------------------------------


def run_command(installation: Installation, case: Mapping[str, Any]) -> dict[str, Any]:
    """Run one recorded command line in the plugin's folder; its status and structured output."""
    (installation.plugin / "config.env").unlink(missing_ok=True)  # of a call
    done = subprocess.run(
        [sys.executable, *installation.fill(case["command"])],
        cwd=installation.plugin,
        env={**installation.environment, **installation.fill(case.get("environment", {}))},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    seen: dict[str, Any] = {"exit": done.returncode}
    how = case.get("output", "none")
    if how == "json":
        seen["output"] = json.loads(done.stdout)
    elif how == "link":
        seen["output"] = _checked_link(done.stdout.strip(), case)
    elif how == "lines":
        seen["output"] = len(done.stdout.splitlines())
    if "file" in case:
        path = Path(installation.fill(case["file"]))
        seen["file"] = json.loads(path.read_text("utf-8"))
    if "names" in case:
        seen["names"] = [name for name in case["names"] if name in done.stdout + done.stderr]
    return installation.strip(seen)


def _checked_link(link: str, case: Mapping[str, Any]) -> str:
    """The link without its times, once its signature has been found right."""
    asked = dict(parse_qsl(urlsplit(link).query))
    kind, alias, *names = case["signed"]
    key = case.get("signing_key", SIGNING_KEY)
    assert signature(key, kind, alias, names, int(asked["exp"])).endswith(quote(asked["sig"]))
    return _plain_link(link)
