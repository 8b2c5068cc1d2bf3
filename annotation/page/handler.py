"""The requests of the page, each checked before anything is done."""

import json
import re
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ralseg.annotation.events import WITH_LABEL, Event
from ralseg.annotation.page.shown import Shown
from ralseg.annotation.preparing import Wish
from ralseg.annotation.work import StaleEvent
from ralseg.foundation import RalsegError

if TYPE_CHECKING:
    from ralseg.annotation.page.server import PageServer

TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
FILES = {
    f"/{file.name}": (file.read_bytes(), f"{TYPES[file.suffix]}; charset=utf-8")
    for file in Path(__file__).parent.iterdir()
    if file.suffix in TYPES
}
"""Path -> content and type of what the browser is given without a token: code, no data."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OURS = ("127.0.0.1", "localhost")
"""Names of this machine. A page from elsewhere that has its own name lead here would send that name."""
DRAINED = 1 << 24
"""Bytes of an unwanted body that are read so that its sender gets to read the refusal."""
WISHES: dict[str, Wish] = {"/api/train": "train", "/api/stop": "stop"}
UNIT = re.compile(r"/api/units/([0-9]{1,9})/(picture|map|label|superpixels)")


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Handler(BaseHTTPRequestHandler):
    """Answers the page's requests.

    GET: `/` and its files; `/api/round` and `/api/status` (JSON); `/api/units/<place>/` with `picture` (PNG), `map`
    (JPEG), `label` (uint8, row by row) and `superpixels` (uint16, little end first, row by row).
    PUT: `/api/event`, the event as JSON in the header `X-Event` and the label as raw bytes in the body; `/api/train`
    and `/api/stop`. What belongs to a round names it in the header `X-Round`.

    Refusals are 403 (foreign name or wrong token), 404, 409 (another page went on, or the round is finished), 422 (bad
    event or label), 500 (the disk or an image), with `{"error": <a sentence>}`.
    """

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ralseg", ""
    # A browser keeps connections open; one that died does not close them.
    timeout = 120
    # Head and body go in two writes, and the second would wait for an answer to the first.
    disable_nagle_algorithm = True

    @property
    def _page(self) -> "PageServer":
        return self.server.page  # pyright: ignore[reportAttributeAccessIssue]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the command."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._guarded(self._get)

    def do_PUT(self) -> None:
        """Answer a PUT request."""
        self._guarded(self._put)

    def _guarded(self, answer: Callable[[], None]) -> None:
        self._unread = self._length()
        try:
            self._check_host()
            answer()
        except _Refused as refusal:
            self._refuse(refusal.code, str(refusal))
        except RalsegError as error:
            self._refuse(500, str(error))

    def _get(self) -> None:
        path = urlsplit(self.path).path
        if path == "/favicon.ico":
            self._send(204, b"", "image/x-icon")
        elif path == "/":
            # A page that is loaded again has the token already, and not in its address.
            for token in parse_qs(urlsplit(self.path).query).get("t", []):
                self._check_token(token)
            self._send(200, *FILES["/page.html"])
        elif path in FILES:
            self._send(200, *FILES[path])
        else:
            self._check_token(self.headers.get("X-Token", ""))
            self._data(path)

    def _data(self, path: str) -> None:
        if path == "/api/round":
            self._json(200, self._page.content())
        elif path == "/api/status":
            self._json(200, self._page.status())
        elif found := UNIT.fullmatch(path):
            self._unit(int(found[1]), found[2])
        else:
            raise _Refused(404, "there is nothing at this address")

    def _unit(self, place: int, part: str) -> None:
        shown = self._shown()
        if place >= len(shown.query.units):
            raise _Refused(404, "there is nothing at this address")
        if part == "picture":
            self._send(200, shown.pictures.picture(place), "image/png")
        elif part == "map":
            self._send(200, shown.pictures.map(place), "image/jpeg")
        elif part == "label":
            self._send(200, shown.label(place).tobytes())
        else:
            self._send(200, shown.pictures.superpixels(place).astype("<u2").tobytes())

    def _shown(self) -> Shown:
        """The round that is shown, if it is the one that the page means."""
        shown = self._page.shown
        if self.headers.get("X-Round") != str(shown.query.round):
            raise _Refused(409, f"round {shown.query.round} is open by now; load the page again")
        return shown

    def _put(self) -> None:
        self._check_token(self.headers.get("X-Token", ""))
        if self.path == "/api/event":
            self._event(self._shown())
        elif self.path in WISHES and self._page.trains:
            try:
                self._page.wish(self._shown(), WISHES[self.path])
            except StaleEvent as error:
                raise _Refused(409, str(error)) from error
            self._json(200, self._page.status())
        else:
            raise _Refused(404, "there is nothing at this address")

    def _event(self, shown: Shown) -> None:
        query = shown.query
        try:
            event = Event.read(json.loads(self.headers.get("X-Event", "")), query)
        except (ValueError, RecursionError) as error:
            raise _Refused(422, f"X-Event: {error}") from error
        height, width = query.units[event.unit][3:]
        wanted = height * width if event.kind in WITH_LABEL else 0
        if self._unread != wanted:
            raise _Refused(422, f"{self.headers.get('Content-Length')} bytes came, not {wanted}")
        body, self._unread = self.rfile.read(wanted), 0
        if len(body) != wanted:
            raise _Refused(422, f"{len(body)} bytes came, not {wanted}")
        label = np.frombuffer(body, np.uint8).reshape(height, width) if wanted else None
        try:
            shown.work.check(event, label)
        except RalsegError as error:
            raise _Refused(422, str(error)) from error
        try:
            self._page.record(shown, event, label)
        except StaleEvent as error:
            raise _Refused(409, str(error)) from error
        self._json(200, {"events": event.n})

    def _check_host(self) -> None:
        if self.headers.get("Host", "").rpartition(":")[0] not in OURS and self.headers.get("Host") not in OURS:
            raise _Refused(403, "this page is for this machine alone")

    def _check_token(self, token: str) -> None:
        if not secrets.compare_digest(token.encode(), self._page.token.encode()):
            raise _Refused(403, "the token is wrong; open the address that the command printed")

    def _length(self) -> int | None:
        """Bytes of the body that have not been read, None if the request does not say."""
        text = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
        return int(text) if re.fullmatch("[0-9]{1,15}", text) and "Transfer-Encoding" not in self.headers else None

    def _refuse(self, code: int, message: str) -> None:
        if self._unread is not None and self._unread <= DRAINED:
            self.rfile.read(self._unread)
        self._json(code, {"error": message})

    def _json(self, code: int, value: Any) -> None:
        self._send(code, json.dumps(value).encode(), "application/json")

    def _send(self, code: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(code)
        for name, value in {**HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        if self._unread != 0:
            # What is left of a body would be taken for the next request.
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
