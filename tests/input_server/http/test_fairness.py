"""One client that requests many thumbnails delays no other client."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from input_server import register_routes
from input_server.auth import signing
from input_server.auth.keys import Key
from input_server.auth.networks import parse_networks
from input_server.http.asgi import App
from input_server.http.asgi_send import ResponseSender
from input_server.http.express_registry import register
from input_server.http.handler import FileServer
from input_server.http.metrics import Metrics
from input_server.http.send_limits import ChunkedBodies
from input_server.images.memory import MemoryBudget, OverBudget
from input_server.images.render_queue import (
    MAX_WAITING,
    MAX_WAITING_PER_CLIENT,
    SLOTS,
    SLOTS_PER_CLIENT,
    SLOTS_PER_CREDENTIAL,
    Busy,
    RenderQueue,
    Requester,
    Ticket,
)
from input_server.images.variant_request import VariantRequest, parse_variant_request
from input_server.mounts.mount import Mount
from input_server.settings import Config
from tests.input_server.hosts import Host, needs_node
from tests.input_server.registry import Registry, hosted
from tests.input_server.running import KEY, Running
from tests.waiting import TIMEOUT, wait_until

FLOODER, OTHER = "203.0.113.7", "203.0.113.8"
bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def link(name: str) -> str:
    query = signing.query(KEY, "files", "m", (name,), int(time.time()) + 600)
    return f"/comfyui_server/files/m/{name}?{query}"


def folder(base: Path) -> Path:
    """Create a large image that takes a while to render, and a small one."""
    path = base / "m"
    path.mkdir()
    Image.effect_noise((900, 900), 90).convert("RGB").save(path / "large.png")
    Image.new("RGB", (60, 40)).save(path / "small.png")
    return path


VARIANTS = [
    f"&fmt=webp{width}{height}&q={quality}"
    for width in ("", "&w=1280", "&w=2048")
    for height in ("", "&h=1280", "&h=2048")
    for quality in (50, 90)
][:16]


def check_fairness(url: str) -> None:
    """While one client requests many variants by one link, another client gets one at once."""

    def get(path: str, client: str) -> requests.Response:
        return requests.get(url + path, headers={"X-Forwarded-For": client}, timeout=TIMEOUT)

    flood_link, own_link = link("large.png"), link("small.png")
    with ThreadPoolExecutor(len(VARIANTS)) as pool:
        flood = [pool.submit(get, flood_link + variant, FLOODER) for variant in VARIANTS]
        others = [get(own_link + "&w=160", OTHER), get(flood_link + "&w=160", OTHER)]
        assert [one.status_code for one in others] == [200, 200]
        assert sum(not one.done() for one in flood) > SLOTS, "the other requests had to wait"
        assert {one.result().status_code for one in flood} == {200}


def test_one_link_that_requests_many_thumbnails_delays_no_other_client(tmp_path: Path) -> None:
    with Running(folder(tmp_path), INPUT_SERVER_TRUSTED_PROXIES="127.0.0.1") as server:
        check_fairness(server.url)


def test_many_thumbnails_delay_no_other_client_in_a_python_host(tmp_path: Path) -> None:
    app = Registry()
    config = {
        "COMFYUI_MOUNTS": f"m:{folder(tmp_path)}",
        "COMFYUI_ACCESS_KEY": KEY,
        "INPUT_SERVER_CACHE_DIR": str(tmp_path / "copies"),
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
    }
    register_routes(app, config, str(tmp_path))
    with hosted(app, raw=True) as port:
        check_fairness(f"http://127.0.0.1:{port}")


@needs_node
def test_many_thumbnails_delay_no_other_client_behind_the_bridge(tmp_path: Path) -> None:
    config = {
        "COMFYUI_MOUNTS": f"m:{folder(tmp_path)}",
        "COMFYUI_ACCESS_KEY": KEY,
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
    }
    with Host(tmp_path, config) as host:
        check_fairness(host.url)


# -- refused requests --------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> FileServer:
    return FileServer(
        Config(
            mounts=(Mount("m", folder(tmp_path)),),
            mounts_file=tmp_path / "absent.json",
            keys=(Key("owner", KEY),),
            signing_key=KEY,
            cache_dir=tmp_path / "copies",
            trusted_proxies=parse_networks("127.0.0.1", "x"),
        )
    )


def fill(queue: RenderQueue, client: str) -> list[Ticket]:
    return [queue.enter(Requester(client, "key owner")) for _ in range(2 + MAX_WAITING_PER_CLIENT)]


PATH = f"/comfyui_server/pw={KEY}/files/m/small.png?w=20"


def test_only_a_client_with_too_many_waiting_requests_is_refused(server: FileServer) -> None:
    app = Registry()
    register(app, server)
    tickets = fill(server.renders, FLOODER)
    with hosted(app, raw=True) as port:

        def get(client: str, path: str = PATH) -> requests.Response:
            url = f"http://127.0.0.1:{port}{path}"
            return requests.get(url, headers={"X-Forwarded-For": client}, timeout=TIMEOUT)

        refused = get(FLOODER)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert get(OTHER).status_code == 200
        assert get(FLOODER).status_code == 200, "the variant is cached now"
        for ticket in tickets:
            server.renders.leave(ticket)
        assert get(FLOODER, PATH.replace("20", "21")).status_code == 200
    server.close()


def test_only_a_client_with_too_many_waiting_requests_is_refused_under_asgi(
    server: FileServer,
) -> None:
    app = App(server, Metrics(dict), ResponseSender(ChunkedBodies(), None, 60.0))

    async def get(client: str, query: str = "w=20") -> int:
        path, _, _ = PATH.partition("?")
        sent: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        async def receive() -> dict[str, object]:
            return {"type": "http.request"}

        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "client": ("127.0.0.1", 1),
            "headers": [(b"x-forwarded-for", client.encode())],
        }
        await app(scope, receive, send)  # type: ignore[arg-type]
        return int(str(sent[0]["status"]))

    async def work() -> None:
        tickets = fill(server.renders, FLOODER)
        assert await get(FLOODER) == 503
        assert await get(OTHER) == 200
        waiting = asyncio.create_task(get(FLOODER, "w=30"))
        server.renders.leave(tickets.pop())
        await asyncio.sleep(0)
        cancelled = asyncio.create_task(get(FLOODER, "w=31"))
        await asyncio.sleep(0)
        cancelled.cancel()
        for ticket in tickets:
            server.renders.leave(ticket)
        assert await waiting in (200, 503)
        assert await get(FLOODER, "w=32") == 200

    asyncio.run(work())
    server.close()


# -- the queue -------------------------------------------------------------------------------------


def running(tickets: list[Ticket]) -> list[int]:
    return [at for at, ticket in enumerate(tickets) if ticket.turn.done()]


def test_slots_per_client_and_per_link() -> None:
    assert (SLOTS, SLOTS_PER_CLIENT, SLOTS_PER_CREDENTIAL, MAX_WAITING_PER_CLIENT, MAX_WAITING) == (
        4,
        2,
        3,
        64,
        512,
    )
    queue = RenderQueue()
    flood = [queue.enter(Requester("a", "link 1")) for _ in range(5)]
    assert running(flood) == [0, 1]
    same_link = [queue.enter(Requester("b", "link 1")) for _ in range(3)]
    assert running(same_link) == [0]
    other_link = [queue.enter(Requester("c", "link 2")) for _ in range(2)]
    assert running(other_link) == [0]
    queue.leave(flood[0])
    assert (running(flood), running(same_link), running(other_link)) == ([0, 1], [0], [0, 1])


def test_the_waiting_client_with_the_fewest_slots_is_next() -> None:
    queue = RenderQueue()
    first = [queue.enter(Requester(name, name)) for name in "abcd"]
    waiting = [queue.enter(Requester(name, name)) for name in "aabbe"]
    queue.leave(first[3])
    assert running(waiting) == [4], "e has no slot yet"
    queue.leave(first[0])
    assert running(waiting) == [0, 4], "a has no slot any more"
    queue.leave(first[2])
    assert running(waiting) == [0, 2, 4], "b had its turn before a"


def test_two_links_of_one_client_take_turns() -> None:
    queue = RenderQueue()
    one = [queue.enter(Requester("a", "link 1")) for _ in range(MAX_WAITING_PER_CLIENT + 2)]
    two = queue.enter(Requester("a", "link 2"))
    with pytest.raises(Busy):
        one[-1].turn.result(0)
    queue.leave(one[0])
    assert two.turn.done()
    with pytest.raises(Busy):
        queue.enter(Requester("a", "link 1")), queue.enter(Requester("a", "link 1"))


def test_a_full_queue_drops_the_newest_requests_of_the_busiest_clients() -> None:
    queue = RenderQueue()
    tickets = [
        queue.enter(Requester(f"client {n % 9}", "key"))
        for n in range(MAX_WAITING + SLOTS_PER_CREDENTIAL)
    ]
    greedy = next(ticket for ticket in reversed(tickets) if ticket.requester.client == "client 3")
    late = queue.enter(Requester("late", "another key"))
    assert late.turn.done(), "one slot is reserved for another key"
    more = [queue.enter(Requester("late", "another key")) for _ in range(3)]
    dropped = [ticket for ticket in tickets if ticket.turn.done() and ticket.turn.exception()]
    assert len(dropped) == 3
    assert max(sum(t.requester == d.requester for d in dropped) for t in tickets) == 1
    assert greedy.requester.client != "late"
    assert not any(ticket.turn.done() for ticket in more)


@bounded
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.booleans()), max_size=200
    ),
)
def test_slots_are_bounded_and_no_request_starves(
    events: list[tuple[str, str, bool]],
) -> None:
    queue = RenderQueue()
    tickets: list[Ticket] = []
    for client, holder, leaves in events:
        if leaves and tickets:
            queue.leave(tickets.pop(len(events) % len(tickets)))
        try:
            tickets.append(queue.enter(Requester(client, holder)))
        except Busy:
            assert sum(t.requester.client == client for t in tickets) >= MAX_WAITING_PER_CLIENT
        active = [t for t in tickets if t.turn.done() and t.turn.exception() is None]
        assert len(active) <= SLOTS
        for one in active:
            assert (
                sum(o.requester.client == one.requester.client for o in active) <= SLOTS_PER_CLIENT
            )
            assert (
                sum(o.requester.credential == one.requester.credential for o in active)
                <= SLOTS_PER_CREDENTIAL
            )
        fresh = Requester("other client", "another link")
        if len(active) < SLOTS:
            ticket = queue.enter(fresh)
            assert ticket.turn.done(), "a free slot was not given away"
            queue.leave(ticket)
    while tickets:
        done = [t for t in tickets if t.turn.done()]
        assert done, "a request waits forever"
        for ticket in done:
            tickets.remove(ticket)
            queue.leave(ticket)


# -- rounding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"w": "1"}, VariantRequest(160)),
        ({"w": "239"}, VariantRequest(160)),
        ({"w": "240"}, VariantRequest(320)),
        ({"w": "320"}, VariantRequest(320)),
        ({"h": "479"}, VariantRequest(height=320)),
        ({"h": "480"}, VariantRequest(height=640)),
        ({"w": "960", "h": "959"}, VariantRequest(1280, 640)),
        ({"w": "1663"}, VariantRequest(1280)),
        ({"w": "1664"}, VariantRequest(2048)),
        ({"w": "8192"}, VariantRequest(2048)),
        ({"q": "1"}, VariantRequest(quality=50, lossy=True)),
        ({"q": "62"}, VariantRequest(quality=50, lossy=True)),
        ({"q": "63"}, VariantRequest(quality=75, lossy=True)),
        ({"quality": "83"}, VariantRequest(quality=90, lossy=True)),
        ({"q": "auto", "fmt": "webp"}, VariantRequest(format="webp", lossy=True)),
        ({"w": "0"}, VariantRequest(error="w and h must be from 1 to 8192.")),
    ],
)
def test_signed_links_round_sizes_and_qualities(
    query: dict[str, str], expected: VariantRequest
) -> None:
    request = parse_variant_request(query)
    assert request is not None
    assert request.rounded == expected


def test_signed_links_get_rounded_sizes_and_keys_exact_ones(tmp_path: Path) -> None:
    path = folder(tmp_path)
    with Running(path) as server:

        def width(url: str) -> int:
            response = server.get(url)
            (path / "got.webp").write_bytes(response.content)
            with Image.open(path / "got.webp") as got:
                return got.width

        linked = {width(link("large.png") + f"&fmt=webp&w={w}") for w in range(250, 400, 10)}
        assert linked == {320}
        assert len(list((tmp_path / "copies").iterdir())) == 1
        server.get(link("large.png") + "&fmt=jpg&w=320")
        server.get(link("large.png") + "&fmt=jpeg&w=320")
        assert len(list((tmp_path / "copies").iterdir())) == 2
        keyed = f"/comfyui_server/pw={KEY}/files/m/large.png?fmt=webp&w="
        assert [width(f"{keyed}{w}") for w in (250, 251)] == [250, 251]
        assert width(link("small.png") + "&fmt=webp&w=2000") == 60, "never larger"


# -- memory ----------------------------------------------------------------------------------------


def test_a_reservation_waits_for_free_memory() -> None:
    memory = MemoryBudget(100)
    with pytest.raises(OverBudget), memory.reserve(101):
        pass
    with ThreadPoolExecutor(4) as pool:
        with memory.reserve(60), memory.reserve(40):
            waiting = pool.submit(hold, memory, 100)
            assert not waiting.done()
        waiting.result(TIMEOUT)
    with memory.reserve(100):
        pass


def hold(memory: MemoryBudget, size: int) -> None:
    with memory.reserve(size):
        pass


def test_small_reservations_overtake_a_large_one_a_limited_number_of_times() -> None:
    memory = MemoryBudget(100)
    order: list[str] = []

    def run(size: int, name: str) -> None:
        with memory.reserve(size):
            order.append(name)

    with ThreadPoolExecutor(16) as pool:
        with memory.reserve(50):
            large = pool.submit(run, 90, "large")
            wait_until(lambda: len(memory._waiting) == 1)
            for number in range(8):
                pool.submit(run, 10, f"small {number}").result(TIMEOUT)
            late = pool.submit(run, 10, "late")
            wait_until(lambda: len(memory._waiting) == 2)
            assert not late.done()
        wait_for(large, late)
    assert order[8:] in (["large", "late"], ["late", "large"])
    assert len(order) == 10


def wait_for(*jobs: Future[None]) -> None:
    for job in jobs:
        job.result(TIMEOUT)
