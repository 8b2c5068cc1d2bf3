"""The server of the page: on this machine alone, for whoever has the token."""

import errno
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np

from ralseg.annotation.page.handler import Handler
from ralseg.annotation.page.pictures import Pictures
from ralseg.annotation.query import NOT_LABELLED, Query
from ralseg.annotation.work import WorkFolder
from ralseg.foundation import RalsegError, owned

ADDRESS = "127.0.0.1"


class PageServer:
    """Serves the page on which a person labels the units of a query, within a `with` block, or from `start` to `stop`.

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
        status: what is going on besides, a short line for the person, or nothing; asked every few seconds, from
            several threads.

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
        status: Callable[[], str] | None = None,
    ) -> None:
        if not 0 <= port <= 65535:
            raise RalsegError(f"port={port} is no port: choose one from 1024 to 65535, or 0 for any that is free")
        if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", token):
            raise RalsegError("the token of the page is not 16 or more letters, digits, hyphens or underscores")
        _check(query)
        self.query, self.work, self.token = query, work, token
        self.pictures = Pictures(query, image)
        self.status: Callable[[], str] = status or str
        self._port, self._title, self._done = port, title, done
        self._open = ExitStack()

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
            stack.enter_context(owned(self.work.folder))
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

    def round(self) -> dict[str, Any]:
        """What the page needs to begin, as JSON values."""
        events = self.work.events
        units = [
            {"image": name, "y": y, "x": x, "height": height, "width": width, "size": self.query.sizes[name]}
            | {"frame": self.pictures.frame(place)}
            for place, (name, y, x, height, width) in enumerate(self.query.units)
        ]
        return {
            "title": self._title,
            "round": self.query.round,
            "done": self._done,
            "classes": [{"name": label.name, "colour": label.colour} for label in self.query.classes],
            "units": units,
            "states": self.work.states,
            "events": len(events),
            "last": events[-1].unit if events else None,
        }

    def label(self, unit: int) -> np.ndarray:
        """What the page shows as the label of a unit: the draft, otherwise the prediction, otherwise nothing.

        Args:
            unit: its place in the query.

        Returns:
            (height, width) uint8 of class ids, 255 where not labelled.
        """
        label = self.work.label(unit)
        if label is None:
            label = self.query.prelabels[unit]
        return np.full(self.query.units[unit][3:], NOT_LABELLED, np.uint8) if label is None else label


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


def _check(query: Query) -> None:
    if not query.units or not 1 <= len(query.classes) <= NOT_LABELLED or len(query.prelabels) != len(query.units):
        raise RalsegError("a query that people can answer has a unit, 1 to 255 classes, and as many prelabels as units")
    for (name, y, x, height, width), label in zip(query.units, query.prelabels, strict=True):
        below, beside = query.sizes[name]
        if min(y, x) < 0 or min(height, width) < 1 or y + height > below or x + width > beside:
            raise RalsegError(f"the unit {(y, x, height, width)} is not within {name}, {below} x {beside}; ask again")
        if label is None:
            continue
        if label.dtype != np.uint8 or label.shape != (height, width):
            raise RalsegError(f"the prelabel of {name} {(y, x)} is {label.shape} {label.dtype}, not its unit's size")
        if np.any((label >= len(query.classes)) & (label != NOT_LABELLED)):
            raise RalsegError(f"the prelabel of {name} {(y, x)} has a class that the query has not; ask again")
