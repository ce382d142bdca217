"""Fair queue for rendering: a few slots, shared between clients and between credentials.

No client and no credential gets all slots, so that a request of another one starts at once. Among the
waiting requests the next is that of the client with the fewest slots, then of the credential with the
fewest, then of the client whose last turn was longest ago.
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
"""Variants rendered at a time; ``memory.py`` limits what they take."""
SLOTS_PER_CLIENT, SLOTS_PER_CREDENTIAL = 2, 3
MAX_WAITING_PER_CLIENT = 64
"""Waiting requests of one client; a page of the gallery has fewer images."""
MAX_WAITING = 512
"""Waiting requests in total."""


class Busy(Exception):
    """The client, or this credential of it, has the maximum number of requests waiting."""


@dataclass(frozen=True, slots=True)
class Requester:
    """``client``: its IP address; ``credential``: identifies the key or signed link it used."""

    client: str = ""
    credential: str = ""


@dataclass(eq=False, slots=True)
class Ticket:
    """A position in the queue. ``turn``: completes when rendering may start; raises Busy if the
    ticket was dropped.
    """

    requester: Requester
    number: int
    turn: Future[None] = field(default_factory=Future)


class RenderQueue:
    """Assigns the slots; thread-safe. Every ticket from ``enter`` must be passed to ``leave``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: list[Ticket] = []
        self._running: list[Ticket] = []
        self._last_turn: dict[str, int] = {}  # client -> sequence number

    @contextmanager
    def turn(self, requester: Requester) -> Iterator[None]:
        """Wait for a slot and hold it for the block. Raises Busy."""
        ticket = self.enter(requester)
        try:
            ticket.turn.result()
            yield
        finally:
            self.leave(ticket)

    def enter(self, requester: Requester) -> Ticket:
        """Queue for a slot and return without waiting. Raises Busy."""
        with self._lock:
            own = [t for t in self._waiting if t.requester.client == requester.client]
            if len(own) >= MAX_WAITING_PER_CLIENT:
                credentials = [t.requester.credential for t in own]
                self._drop_newest(own, credentials, requester.credential)
            elif len(self._waiting) >= MAX_WAITING:
                clients = [t.requester.client for t in self._waiting]
                self._drop_newest(self._waiting, clients, requester.client)
            ticket = Ticket(requester, next(self._numbers))
            self._waiting.append(ticket)
            self._start()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Release the slot or the position in the queue."""
        with self._lock:
            for tickets in (self._running, self._waiting):
                if ticket in tickets:
                    tickets.remove(ticket)
            self._start()

    def _drop_newest(
        self, tickets: Sequence[Ticket], owners: Sequence[str], requesting: str
    ) -> None:
        """Drop the newest ticket of the owner that has most. Raises Busy if that is ``requesting``.

        ``owners``: the client or credential of each ticket.
        """
        counts = Counter(owners)
        largest = max(counts, key=lambda owner: (counts[owner], owner == requesting))
        if largest == requesting:
            raise Busy
        newest = max(
            (ticket for ticket, owner in zip(tickets, owners, strict=True) if owner == largest),
            key=lambda ticket: ticket.number,
        )
        self._waiting.remove(newest)
        if newest.turn.set_running_or_notify_cancel():
            newest.turn.set_exception(Busy())

    def _start(self) -> None:
        """Start as many waiting tickets as slots allow."""
        while len(self._running) < SLOTS and (ticket := self._next()) is not None:
            self._waiting.remove(ticket)
            if ticket.turn.set_running_or_notify_cancel():
                self._running.append(ticket)
                self._last_turn[ticket.requester.client] = next(self._numbers)
                ticket.turn.set_result(None)
        self._forget_clients()

    def _next(self) -> Ticket | None:
        """The waiting ticket that is next, if any may start."""
        clients = Counter(ticket.requester.client for ticket in self._running)
        credentials = Counter(ticket.requester.credential for ticket in self._running)

        def rank(ticket: Ticket) -> tuple[int, int, int]:
            client, credential = ticket.requester.client, ticket.requester.credential
            return clients[client], credentials[credential], self._last_turn.get(client, 0)

        allowed = (
            ticket
            for ticket in self._waiting
            if clients[ticket.requester.client] < SLOTS_PER_CLIENT
            and credentials[ticket.requester.credential] < SLOTS_PER_CREDENTIAL
        )
        return min(allowed, key=rank, default=None)

    def _forget_clients(self) -> None:
        if not self._waiting and not self._running:
            self._last_turn.clear()
        elif len(self._last_turn) > 2 * MAX_WAITING:
            known = {ticket.requester.client for ticket in (*self._waiting, *self._running)}
            self._last_turn = {who: at for who, at in self._last_turn.items() if who in known}
