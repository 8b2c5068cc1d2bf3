"""The server of the page: on this machine alone, for whoever has the token."""

import errno
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np

from ralseg.annotation.events import Event
from ralseg.annotation.page.handler import Handler
from ralseg.annotation.page.shown import Shown
from ralseg.annotation.preparing import Preparation, Status, Wish
from ralseg.annotation.query import Query
from ralseg.annotation.work import StaleEvent, WorkFolder
from ralseg.foundation import RalsegError, owned

ADDRESS = "127.0.0.1"


class PageServer:
    """Serves the page on which a person labels the units of a query, within a `with` block, or from `start` to `stop`.

    One round is shown at a time; `show` goes on to the next one at the same address.

    It keeps what it is told in the work folder, which it owns meanwhile. It can be killed and started again at any
    moment: with the same port and token, a page that is open goes on.

    Args:
        query: the query; every unit lies within its image, and every prelabel has the size of its unit.
        image: image name -> (height, width, 3) uint8, red, green and blue, or a RalsegError that says why not; called
            from several threads, one at a time.
        work: the work folder of the round.
        port: the port, 1 to 65535, or 0 for any that is free.
        token: what a request must have to be answered; 16 or more letters, digits, hyphens or underscores.
        title: the title of the page.
        done: what to do when all units are labelled, a sentence or two for the person.
        changes: what the last labels changed in the network, sentences for the person, or nothing.
        preparation: what trains on a finished round and asks the next one; None where the person does so.

    Raises:
        RalsegError: if the query cannot be shown, or the port or the token is not as above.
    """

    def __init__(
        self,
        query: Query,
        image: Callable[[str], np.ndarray],
        work: WorkFolder,
        *,
        port: int,
        token: str,
        title: str = "ralseg",
        done: str = "",
        changes: str = "",
        preparation: Preparation | None = None,
    ) -> None:
        if not 0 <= port <= 65535:
            raise RalsegError(f"port={port} is no port: choose one from 1024 to 65535, or 0 for any that is free")
        if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", token):
            raise RalsegError("the token of the page is not 16 or more letters, digits, hyphens or underscores")
        self.shown, self.token = Shown(query, image, work, changes), token
        self._port, self._title, self._done, self._preparation = port, title, done, preparation
        # An event comes either before a training or not at all, and goes into the round that it belongs to.
        self._lock = threading.Lock()
        self._open, self._owning = ExitStack(), ExitStack()

    @property
    def url(self) -> str:
        """The address to open, with the token in it; the port is known once the server has started."""
        return f"http://{ADDRESS}:{self._port}/?t={self.token}"

    def start(self) -> None:
        """Begin to answer, in threads of its own.

        Raises:
            RalsegError: if the port is taken, or another process holds the work folder.
        """
        with ExitStack() as stack:
            stack.callback(lambda: self._owning.close())
            self._owning.enter_context(owned(self.work.folder))
            try:
                server = _Server(self, self._port)
            except OSError as error:
                reason = "in use" if error.errno == errno.EADDRINUSE else error.strerror
                raise RalsegError(
                    f"port {self._port} cannot be opened ({reason}); choose another with port="
                ) from error
            stack.callback(server.server_close)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            self._port = server.server_port
            self._open = stack.pop_all()

    def stop(self) -> None:
        """End answering, after what is being written; in the thread that has started it."""
        self._open.close()

    def __enter__(self) -> "PageServer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def show(self, query: Query, work: WorkFolder, changes: str) -> None:
        """Show another round from now on, in the thread that has started the server; a page that is open asks for it.

        Args:
            query: its query, of a higher number.
            work: its work folder.
            changes: see `PageServer`.

        Raises:
            RalsegError: if the query cannot be shown, or another process holds the work folder.
        """
        shown = Shown(query, self.shown.image, work, changes)
        with ExitStack() as stack:
            stack.enter_context(owned(work.folder))
            with self._lock:
                self.shown = shown
            self._owning.close()
            self._owning = stack.pop_all()

    def content(self) -> dict[str, Any]:
        """What the page needs to begin, as JSON values."""
        about = {"title": self._title, "done": self._done, "trains": self.trains}
        return about | self.shown.content() | {"status": self.status()}

    def status(self) -> dict[str, Any]:
        """The number of the round and its changes, and what is going on besides labelling, as JSON values."""
        # In this order: a new round is shown before the training is said to be over.
        status = Status() if self._preparation is None else self._preparation.status()
        shown = self.shown
        return {"round": shown.query.round, "changes": shown.changes, **asdict(status)}

    def record(self, shown: Shown, event: Event, label: np.ndarray | None) -> None:
        """Write down an event; see `WorkFolder.record`.

        Args:
            shown: the round that it belongs to.
            event: the event.
            label: the label of its unit.

        Raises:
            StaleEvent: if the round is no longer shown, or is being trained on.
        """
        with self._lock:
            if shown is not self.shown or self.status()["state"] == "training":
                raise StaleEvent("this round is finished; load the page again")
            shown.work.record(event, label)

    def wish(self, shown: Shown, wish: Wish) -> None:
        """Ask for a training on the labels so far, or for its end.

        Args:
            shown: the round that is finished.
            wish: what is wished for.

        Raises:
            StaleEvent: if the round is no longer shown, or is not finished.
        """
        assert self._preparation is not None
        with self._lock:
            if shown is not self.shown or (wish == "train" and "open" in shown.work.states):
                raise StaleEvent("this round is not finished, or no longer open; load the page again")
            self._preparation.ask(wish)

    @property
    def trains(self) -> bool:
        """Whether the page can wish for a training."""
        return self._preparation is not None

    @property
    def query(self) -> Query:
        """The query of the round that is shown."""
        return self.shown.query

    @property
    def work(self) -> WorkFolder:
        """The work folder of the round that is shown."""
        return self.shown.work


class _Server(ThreadingHTTPServer):
    # Closing waits for the threads, so that none of them writes afterwards.
    daemon_threads = False

    def __init__(self, page: PageServer, port: int) -> None:
        self.page, self._sockets = page, set[socket.socket]()
        super().__init__((ADDRESS, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        # A browser keeps its connections open: each thread finishes its answer, and then reads that this is the end.
        for connection in tuple(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser may go away in the middle of an answer.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
