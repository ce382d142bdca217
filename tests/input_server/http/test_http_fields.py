"""Range, conditions and Accept-Encoding, compared with an independent model of RFC 9110."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_server import parse_values
from input_server.application import create_app
from input_server.http import accept_encoding, conditions, ranges
from input_server.http.handler import FileServer
from input_server.http.metrics import Metrics
from input_server.settings import read
from tests.input_server.running import KEY, Running

CONTENT = b"".join(b"line %d\n" % number for number in range(400))
SIZE = len(CONTENT)
CHANGED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
BOUNDED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SAMPLE = settings(BOUNDED, max_examples=25)


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


# -- a model of RFC 9110 ---------------------------------------------------------------------------


def dates(moment: datetime) -> list[str]:
    """Return a time in the three formats of 5.6.7."""
    fixed = format_datetime(moment, usegmt=True)
    day = moment.strftime("%A, %d-%b-%y %H:%M:%S GMT")
    return [fixed, day, moment.strftime(f"%a %b {moment.day:2} %H:%M:%S %Y")]


MOMENTS = {
    text: moment
    for moment in (CHANGED, CHANGED - timedelta(seconds=1), CHANGED + timedelta(days=9))
    for text in dates(moment)
}
NO_DATES = [
    "yesterday",
    "6 May 2024",
    format_datetime(CHANGED),
    "Mon, 06 May 2024 07:08:09 UTC",
    "",
]


def tags(field: str) -> list[tuple[bool, str]] | None:
    """Return (is weak, tag) for each tag of a list, None for "*"."""
    if field == "*":
        return None
    return [(mark == "W/", tag) for mark, tag in re.findall(r'(W/|)("[^"]*")', field)]


def condition(headers: Mapping[str, str], etag: str) -> int:
    """Return the status by 13.2.2, steps 1 to 4."""
    if (field := headers.get("If-Match")) is not None:
        listed = tags(field)
        if listed is not None and (False, etag) not in listed:
            return 412
    elif (moment := MOMENTS.get(headers.get("If-Unmodified-Since", ""))) and moment < CHANGED:
        return 412
    if (field := headers.get("If-None-Match")) is not None:
        listed = tags(field)
        return 304 if listed is None or etag in [tag for _, tag in listed] else 200
    if (moment := MOMENTS.get(headers.get("If-Modified-Since", ""))) and moment >= CHANGED:
        return 304
    return 200


def requested_ranges(field: str, size: int) -> list[tuple[int, int]] | None:
    """Return first and last byte of each satisfiable range, None for an invalid field (14.1.1)."""
    if not re.fullmatch(r"bytes=[0-9,\- \t]*", field, re.IGNORECASE | re.ASCII):
        return None
    found = []
    for part in re.split("[ \t]*,[ \t]*", field[6:].strip(" \t")):
        shape = re.fullmatch("([0-9]*)-([0-9]*)", part, re.ASCII)
        if shape is None or part == "-":
            return None
        first, last = (shape[n][-4000:] for n in (1, 2))
        if not first:
            if int(last):
                found.append((max(0, size - int(last)), size - 1))
        elif last and int(last) < int(first):
            return None
        elif int(first) < size:
            found.append((int(first), min(int(last or size), size - 1)))
    return found


def check(method: str, headers: Mapping[str, str], etag: str, response: Response) -> None:
    """Assert that the model allows the response."""
    status = condition(headers, etag)
    if status != 200:
        assert response.status == status
        return
    if "If-Range" in headers:
        same = headers["If-Range"] == etag or MOMENTS.get(headers["If-Range"]) == CHANGED
    else:
        same = True
    asked = requested_ranges(headers["Range"], SIZE) if "Range" in headers and same else None
    if method == "HEAD" or asked is None:
        assert response.status == 200
        assert int(response.headers["content-length"]) == (
            len(response.body) if method == "GET" else int(response.headers["content-length"])
        )
    if method == "HEAD":
        assert response.body == b""
    elif response.status == 200:
        packed = response.headers.get("content-encoding") == "gzip"
        assert (gzip.decompress(response.body) if packed else response.body) == CONTENT
        simple = asked is not None and len(asked) == 1 and len(headers["Range"]) < 100
        assert not simple or headers["Range"].count(",") > 0, "one valid range was ignored"
    elif response.status == 416:
        assert asked == []
        assert response.headers["content-range"] == f"bytes */{SIZE}"
    else:
        assert response.status == 206
        assert asked
        assert parts(response) == [(a, b, CONTENT[a : b + 1]) for a, b in asked]


def parts(response: Response) -> list[tuple[int, int, bytes]]:
    """Return first byte, last byte and content of each part of a 206."""
    if "content-range" in response.headers:
        return [(*span(response.headers["content-range"]), response.body)]
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    boundary = message_from_bytes(head).get_boundary()
    found = []
    for part in response.body.split(f"\r\n--{boundary}".encode())[1:-1]:
        fields, _, body = part.partition(b"\r\n\r\n")
        line = re.search(rb"Content-Range: (.*)", fields)
        assert line is not None
        found.append((*span(line[1].decode().strip()), body))
    return found


def span(field: str) -> tuple[int, int]:
    shape = re.fullmatch(rf"bytes ([0-9]+)-([0-9]+)/{SIZE}", field)
    assert shape is not None
    return int(shape[1]), int(shape[2])


# -- strategies ----------------------------------------------------------------------------------

position = st.one_of(
    st.integers(0, SIZE + 20).map(str),
    st.sampled_from(["", "0", str(SIZE), "9" * 30, "9" * 5000, "+1", "1_0", "²", "0x1", "007"]),
)
part = st.builds("{}-{}".format, position, position)
range_field = st.one_of(
    st.builds(
        "{}={}{}".format,
        st.sampled_from(["bytes", "Bytes", "lines", "bytes "]),
        st.sampled_from(["", " "]),
        st.lists(part, min_size=1, max_size=4).map(", ".join),
    ),
    part.map("bytes={}".format),
    st.sampled_from(
        ["bytes=", "bytes", "bytes=-", "bytes=0-0,", "=0-1", "bytes=0-1;2-3", "bytes=1"]
    ),
)
MARK = "ETAG"
one_tag = st.sampled_from([MARK, f"W/{MARK}", '"other"', 'W/"other"', '""', '"a,b"'])
tag_field = st.one_of(st.just("*"), st.lists(one_tag, min_size=1, max_size=4).map(", ".join))
date_field = st.sampled_from([*MOMENTS, *NO_DATES])
fields = st.fixed_dictionaries(
    {},
    optional={
        "Range": range_field,
        "If-Range": st.one_of(one_tag, date_field),
        "If-Match": tag_field,
        "If-None-Match": tag_field,
        "If-Modified-Since": date_field,
        "If-Unmodified-Since": date_field,
        "Accept-Encoding": st.sampled_from(["gzip", "gzip;q=0.5", "gzip;q=0", "*", "identity"]),
    },
)
methods = st.sampled_from(["GET", "GET", "GET", "HEAD"])


def filled(headers: Mapping[str, str], etag: str) -> dict[str, str]:
    return {name: value.replace(MARK, etag).strip() for name, value in headers.items()}


def mount(folder: Path) -> Path:
    """Create a folder with the requested file."""
    folder.mkdir()
    file = folder / "a.txt"
    file.write_bytes(CONTENT)
    os.utime(file, (CHANGED.timestamp(), CHANGED.timestamp()))
    return folder


# -- in process ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tmp_path_factory.mktemp("fields")
    config = read(
        {
            "COMFYUI_MOUNTS": f"m:{mount(base / 'm')}",
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS_FILE": str(base / "mounts.json"),
            "INPUT_SERVER_CACHE_DIR": str(base / "copies"),
        },
        base,
    )
    return create_app(config)


def ask(app: Any, method: str, headers: Mapping[str, str], path: str = "a.txt") -> Response:
    """Send one request over the ASGI interface."""
    target = path if path.startswith("/") else f"/comfyui_server/pw={KEY}/files/m/{path}"
    scope = {
        "type": "http",
        "method": method,
        "path": target,
        "raw_path": target.encode(),
        "query_string": b"",
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
        "client": ("203.0.113.5", 1),
    }
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, None, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    for message in sent[1:]:
        if message["type"] == "http.response.pathsend":
            body += Path(message["path"]).read_bytes()
    response_headers = {
        name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]
    }
    return Response(sent[0]["status"], response_headers, body)


@BOUNDED
@given(method=methods, given=fields)
def test_responses_conform_to_the_rfc(app: Any, method: str, given: dict[str, str]) -> None:
    etag = ask(app, "HEAD", {}).headers["etag"]
    unconditional = {name: given[name] for name in given if name in ("Range", "Accept-Encoding")}
    if "content-encoding" in ask(app, method, unconditional).headers:
        given = {**given, "Accept-Encoding": "identity"}  # gzip has another ETag
    headers = filled(given, etag)
    check(method, headers, etag, ask(app, method, headers))


@BOUNDED
@given(given=fields)
def test_head_has_the_headers_of_get_without_range(app: Any, given: dict[str, str]) -> None:
    etag = ask(app, "HEAD", {}).headers["etag"]
    headers = filled(given, etag)
    head = ask(app, "HEAD", headers)
    get = ask(app, "GET", {name: value for name, value in headers.items() if name != "Range"})
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


# -- over a real socket ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(mount(tmp_path_factory.mktemp("fields") / "m")) as server:
        yield server


def over_http(server: Running, method: str, headers: Mapping[str, str]) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(
            method, f"/comfyui_server/pw={KEY}/files/m/a.txt", skip_accept_encoding=True
        )
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        response = connection.getresponse()
        response_headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, response_headers, response.read())
    finally:
        connection.close()


@SAMPLE
@given(method=methods, given=fields)
def test_responses_over_a_socket_conform_to_the_rfc(
    running: Running, method: str, given: dict[str, str]
) -> None:
    etag = over_http(running, "HEAD", {}).headers["etag"]
    headers = {**filled(given, etag), "Accept-Encoding": "identity"}
    check(method, headers, etag, over_http(running, method, headers))


# -- single decisions ------------------------------------------------------------------------------


def test_a_weak_tag_matches_weakly_only(app: Any) -> None:
    etag = ask(app, "HEAD", {}).headers["etag"]
    assert ask(app, "GET", {"If-Match": f"W/{etag}"}).status == 412
    assert ask(app, "GET", {"If-Match": f'"x", {etag}'}).status == 200
    assert ask(app, "GET", {"If-Match": "*"}).status == 200
    assert ask(app, "GET", {"If-Match": f"w/{etag}"}).status == 412
    assert ask(app, "GET", {"If-Match": f"x{etag}"}).status == 412
    assert ask(app, "GET", {"If-None-Match": f"W/{etag}"}).status == 304
    assert ask(app, "GET", {"If-None-Match": "*"}).status == 304
    weak = ask(app, "GET", {"Range": "bytes=0-0", "If-Range": f"W/{etag}"})
    strong = ask(app, "GET", {"Range": "bytes=0-0", "If-Range": etag})
    assert (weak.status, strong.status) == (200, 206)


def test_a_date_less_than_a_second_old_is_no_strong_validator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"range": "bytes=0-0", "if-range": format_datetime(CHANGED, usegmt=True)}
    for age, found in ((0.5, None), (1.0, ((0, 1),))):
        monkeypatch.setattr(conditions.time, "time", lambda age=age: CHANGED.timestamp() + age)
        assert ranges.parse_range(asked, 9, '"x"', CHANGED) == found


def test_a_two_digit_year_is_at_most_fifty_years_ahead() -> None:
    year = datetime.now(timezone.utc).year
    for ahead in (50, 51):
        text = f"Sunday, 06-Nov-{(year + ahead) % 100:02} 08:49:37 GMT"
        found = conditions.parse_date(text)
        assert found is not None
        assert found.year == (year + ahead if ahead == 50 else year + ahead - 100)


@pytest.mark.parametrize(
    "form",
    ["Sun, 06 Nov 1994 08:49:{} GMT", "Sunday, 06-Nov-94 08:49:{} GMT", "Sun Nov  6 08:49:{} 1994"],
)
def test_second_60_is_valid_and_61_is_not(form: str) -> None:
    """RFC 9110, 5.6.7: ``second = 2DIGIT``, of which 60 is a leap second."""
    last = datetime(1994, 11, 6, 8, 49, 59, tzinfo=timezone.utc)
    seconds = ("59", "60", "61", "99")
    assert [conditions.parse_date(form.format(text)) for text in seconds] == [
        last,
        last,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        ("gzip", True),
        ("x-gzip", True),
        ("GZip", True),
        ("gzip;q=0.5", True),
        ("gzip;q=0.001", True),
        ("gzip ; q=0.5", True),
        ("gzip;Q=1.000", True),
        ("br, gzip;q=0.1", True),
        ("*", True),
        ("*;q=0.1", True),
        ("gzip;q=0.5, identity;q=0", True),
        ("gzip, *;q=0", True),
        ("", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip; q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("br", False),
        ("gzipped", False),
        ("gzip;q=2", False),
        ("gzip;q=", False),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0", False),
        ("gzip," + "a," * 4000, False),
    ],
)
def test_gzip_is_sent_if_accepted(app: Any, field: str, accepted: bool) -> None:
    assert accept_encoding.accepts_gzip(field) is accepted
    assert ("content-encoding" in ask(app, "GET", {"Accept-Encoding": field}).headers) is accepted


@BOUNDED
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["gzip", "x-gzip", "br", "*", "identity"]),
            st.sampled_from([None, "0", "0.0", "0.3", "0.7", "1", "1.000"]),
        ),
        max_size=5,
        unique_by=lambda entry: {"x-gzip": "gzip"}.get(entry[0], entry[0]),
    )
)
def test_gzip_is_chosen_by_its_weight(entries: list[tuple[str, str | None]]) -> None:
    field = " , ".join(name if q is None else f"{name} ;q={q}" for name, q in entries)
    weights = {name.removeprefix("x-"): float(q or "0") if q else 1.0 for name, q in entries}
    ours = weights.get("gzip", weights.get("*", 0.0))
    assert accept_encoding.accepts_gzip(field) == (
        ours > 0 and ours >= weights.get("identity", 0.0)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", 0),
        ("007", 7),
        ("12", 12),
        ("0" * 3000 + "5", 5),
        ("9" * 4000, parse_values.MAX_COUNT),
        ("9" * 4001, None),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("1_0", None),
        ("²", None),
        ("١", None),
        ("1e3", None),
    ],
)
def test_parse_count_accepts_ascii_digits_only(text: str, found: int | None) -> None:
    assert parse_values.parse_count(text, clamp=True) == found


def test_parse_count_limits_or_clamps() -> None:
    assert parse_values.parse_count("700", at_most=99, clamp=True) == 99
    assert parse_values.parse_count("700", at_most=99) is None


def test_repeated_fields_are_joined_and_two_hosts_are_an_error(running: Running) -> None:
    for lines, status in (
        ('Host: x\r\nIf-None-Match: *\r\nIf-None-Match: "a"\r\n', b"200"),
        ('Host: x\r\nIf-Match: "a"\r\nIf-Match: "b"\r\n', b"412"),
        ("Host: x\r\nHost: x\r\n", b"400"),
    ):
        with running.connect() as wire:
            target = f"/comfyui_server/pw={KEY}/files/m/a.txt"
            wire.sendall(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())
            assert wire.recv(65536).split()[1] == status


def test_too_many_ranges_or_a_long_header_get_the_complete_file(app: Any) -> None:
    for count, status in ((8, 206), (9, 200)):
        field = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(count))
        assert ask(app, "GET", {"Range": field}).status == status
    for length, found in ((200, ((0, 1),)), (201, None)):
        field = f"bytes={'0-0':>{length}}"
        assert ranges.parse_range({"range": field}, 9, '"x"', CHANGED) == found


def test_ranges_longer_than_the_file_together_get_the_complete_file(
    app: Any,
) -> None:
    half = SIZE // 2
    for begin, status in ((half, 206), (half - 1, 200)):
        field = f"bytes=0-{half - 1}, {begin}-"
        assert ask(app, "GET", {"Range": field}).status == status
    assert ranges.parse_range({"range": "bytes=0-4, 5-"}, 9, '"x"', CHANGED) == ((0, 5), (5, 4))


# -- metrics on loopback ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:5005", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("localhost.", 200),
        ("[::1]", 200),
        ("[::1]:5005", 200),
        ("files.example", 200),
        ("files.example:444", 200),
        ("evil.example", 421),
        ("evil.example:5005", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("[::1].evil.example", 421),
        ("[::1", 421),
        ("localhost:x", 421),
        ("", 421),
        (None, 421),
    ],
)
def test_metrics_on_loopback_require_an_own_host_name(
    tmp_path: Path, host: str | None, status: int
) -> None:
    config = read(
        {
            "COMFYUI_MOUNTS": f"m:{mount(tmp_path / 'm')}",
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS_FILE": str(tmp_path / "mounts.json"),
            "FILE_SERVER_BASE_URL": "https://files.example:444/x",
        },
        tmp_path,
    )
    server = FileServer(config)
    metrics = Metrics(dict)
    server.pages["metrics"] = metrics
    assert metrics_status(server, host) == status
    assert metrics_status(server, host, authorization=f"Bearer {KEY}") == 200
    if status == 421:
        assert metrics_status(server, host, authorization="Bearer wrong") == 401


def metrics_status(server: FileServer, host: str | None, **headers: str) -> int:
    from input_server import urls
    from input_server.http.handler import HttpRequest

    named = {**headers} if host is None else {"host": host, **headers}
    return server.answer(HttpRequest("GET", urls.parse("/metrics"), {}, named, "127.0.0.1")).status


def test_dns_rebinding_gives_no_access_to_metrics(running: Running) -> None:
    """A browser sends such a Host header if a page points its own name to 127.0.0.1."""
    assert running.get("/metrics").status_code == 200
    assert running.get("/metrics", Host="evil.example").status_code == 421
    assert running.get(f"/comfyui_server/pw={KEY}/metrics", Host="evil.example").status_code == 200
    assert running.get("a.txt", Host="any.example").status_code == 200
