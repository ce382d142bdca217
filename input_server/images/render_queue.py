"""Who may render a copy now: a few slots, shared between clients and between keys and links.

No client and no link has all slots, so that a request of another one starts at once. Of those that
wait, the one starts whose client has the fewest slots, then whose key or link has, then whose client
had its last turn the longest ago.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

SLOTS = 4
"""Copies rendered at the same time; what they hold in memory is bounded by ``memory.py``."""
SLOTS_PER_CLIENT, SLOTS_PER_CREDENTIAL = 2, 3
"""Slots that one client, and one key or link, may have."""
MAX_WAITING_PER_CLIENT = 64
"""Requests of one client that may wait; a page of the gallery has fewer pictures."""
MAX_WAITING = 512
"""Requests that may wait in all."""


class Busy(Exception):
    """A client, or one key or link of it, already has as many requests waiting as it may have."""


@dataclass(frozen=True, slots=True)
class Requester:
    """``client``: the address that counts; ``holder``: the key or the link that opened the file."""

    client: str = ""
    holder: str = ""


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the queue. ``turn`` is done when it may start, and raises Busy when it never may."""

    requester: Requester
    number: int
    turn: Future[None] = field(default_factory=Future)


class RenderQueue:
    """Hands out the slots; thread-safe. Every ticket of ``enter`` goes back by ``leave``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: list[Ticket] = []
        self._running: list[Ticket] = []
        self._served: dict[str, int] = {}  # client -> when it last had a turn

    @contextmanager
    def turn(self, requester: Requester) -> Iterator[None]:
        """Wait for a slot, which is free again at the end of the block. Raises Busy."""
        ticket = self.enter(requester)
        try:
            ticket.turn.result()
            yield
        finally:
            self.leave(ticket)

    def enter(self, requester: Requester) -> Ticket:
        """Ask for a slot. Raises Busy."""
        with self._lock:
            own = [t for t in self._waiting if t.requester.client == requester.client]
            if len(own) >= MAX_WAITING_PER_CLIENT:
                self._drop_one(own, [t.requester.holder for t in own], requester.holder)
            elif len(self._waiting) >= MAX_WAITING:
                clients = [t.requester.client for t in self._waiting]
                self._drop_one(self._waiting, clients, requester.client)
            ticket = Ticket(requester, next(self._numbers))
            self._waiting.append(ticket)
            self._start()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a slot, or a place among those that wait, back."""
        with self._lock:
            for tickets in (self._running, self._waiting):
                if ticket in tickets:
                    tickets.remove(ticket)
            self._start()

    def _drop_one(self, tickets: Sequence[Ticket], owners: Sequence[str], asking: str) -> None:
        """Drop the newest ticket of whoever has the most. Raises Busy where that is who is asking."""
        waiting = Counter(owners)
        greedy = max(waiting, key=lambda owner: (waiting[owner], owner == asking))
        if greedy == asking:
            raise Busy
        newest = max(
            (ticket for ticket, owner in zip(tickets, owners, strict=True) if owner == greedy),
            key=lambda ticket: ticket.number,
        )
        self._waiting.remove(newest)
        if newest.turn.set_running_or_notify_cancel():
            newest.turn.set_exception(Busy())

    def _start(self) -> None:
        while len(self._running) < SLOTS:
            clients = Counter(ticket.requester.client for ticket in self._running)
            holders = Counter(ticket.requester.holder for ticket in self._running)
            ready = [
                (clients[who.client], holders[who.holder], self._served.get(who.client, 0), at)
                for at, who in enumerate(ticket.requester for ticket in self._waiting)
                if clients[who.client] < SLOTS_PER_CLIENT
                and holders[who.holder] < SLOTS_PER_CREDENTIAL
            ]
            if not ready:
                break
            ticket = self._waiting.pop(min(ready)[3])
            if ticket.turn.set_running_or_notify_cancel():
                self._running.append(ticket)
                self._served[ticket.requester.client] = next(self._numbers)
                ticket.turn.set_result(None)
        if not self._waiting and not self._running:
            self._served.clear()
        elif len(self._served) > 2 * MAX_WAITING:
            known = {ticket.requester.client for ticket in (*self._waiting, *self._running)}
            self._served = {who: at for who, at in self._served.items() if who in known}
