"""HTTP that survives broken transfers: retries with a growing pause, and a downloader for pooch that resumes."""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pooch
import requests

from phosphene.datasets.download.names import PART, TAG, amount
from phosphene.errors import PhospheneError
from phosphene.utils.retries import Passing, persist

ROOTS = {
    "osf": "https://api.osf.io/v2",
    "figshare": "https://api.figshare.com/v2",
    "openneuro": "https://s3.amazonaws.com/openneuro.org",
}
LARGEST_ANSWER = 1 << 26  # bytes: an answer of an API, not a file
T = TypeVar("T")
pooch.get_logger().setLevel(logging.WARNING)  # it would tell each file's checksum; `checksums.txt` holds it


class Absent(PhospheneError):
    """The host knows no such thing."""


@dataclass
class Web:
    """How hosts are reached. Tests give their own ``roots`` and a ``sleep`` that returns at once."""

    roots: Mapping[str, str] = field(default_factory=lambda: ROOTS)
    tries: int = 5
    """Failures in a row, none of which brought a byte more, before giving up."""
    sleep: Callable[[float], None] = time.sleep
    timeout: tuple[float, float] = (20.0, 60.0)
    chunk: int = 1 << 18
    session: requests.Session = field(default_factory=requests.Session)

    def persist(self, act: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
        """Call ``act`` until it is not `Passing`; ``reached`` counts what has arrived."""
        return persist(act, tries=self.tries, sleep=self.sleep, reached=reached)

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """A streamed answer with status 200, 206 or 416; what may pass is `Passing`, what will not an error."""
        self._trusted(url)
        try:
            with self.session.get(url, headers=dict(headers or {}), stream=True, timeout=self.timeout) as answer:
                for passed in (*answer.history, answer):
                    self._trusted(passed.url)
                status, host = answer.status_code, urlsplit(url).netloc
                if status in (408, 425, 429) or status >= 500:
                    wait = answer.headers.get("Retry-After", "")
                    raise Passing(f"{host} answers {status}", float(wait) if wait.isdecimal() else 0.0)
                if status in (404, 410):
                    raise Absent(f"{url} is not there ({status}): look at the data set's page")
                if status in (401, 403):
                    raise PhospheneError(f"{host} refuses {url} ({status}): look at the data set's page for access")
                if status not in (200, 206, 416):
                    raise PhospheneError(f"{host} answers {status} for {url}: look at the data set's page")
                yield answer
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise PhospheneError(f"{url[:200]!r} cannot be fetched ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise Passing(f"{urlsplit(url).netloc}: {_reason(error)}") from None

    def _trusted(self, url: str) -> None:
        known = [self.origin(root) for root in self.roots.values()]
        if not url.isprintable() or (self.origin(url)[0] != "https" and self.origin(url) not in known):
            raise PhospheneError(f"refused, the host redirects to an address that is not https: {url[:200]!r}")

    @staticmethod
    def origin(url: str) -> tuple[str, str]:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise PhospheneError(f"refused, the host redirects to {url[:200]!r}, which is not an address") from None
        return parts.scheme, parts.netloc

    def text(self, url: str) -> bytes:
        """The whole answer of an API, of at most 64 MiB."""

        def once() -> bytes:
            body = bytearray()
            with self.get(url) as answer:
                for block in answer.iter_content(self.chunk):
                    body += block
                    if len(body) > LARGEST_ANSWER:
                        raise PhospheneError(f"the answer of {url} does not end: look at the data set's page")
            return bytes(body)

        return self.persist(once)

    def json(self, url: str) -> Any:
        try:
            return json.loads(self.text(url))
        except (ValueError, RecursionError) as error:
            if isinstance(error, PhospheneError):
                raise
            raise PhospheneError(f"the answer of {url} is not JSON: look at the data set's page") from None


class Resuming:
    """A downloader for pooch: writes `NAME.part`, goes on where it broke, and hands the whole file over.

    An earlier part is continued when its content can be trusted: the checksum is known, or the server gave a validator
    (kept in `NAME.part.tag`), which is sent back as `If-Range`. Otherwise, and where the server ignores `Range`, the
    file is begun again.
    """

    def __init__(self, web: Web, target: Path, size: int | None, checked: bool, tick: Callable[[int], object]):
        self.web, self.size, self.checked, self.tick = web, size, checked, tick
        self.part, self.tag = (target.with_name(target.name + suffix) for suffix in (PART, TAG))
        self.resumed = False

    def __call__(self, url: str, output_file: str, pooch: object, check_only: bool = False) -> None:
        self.web.persist(lambda: self._transfer(url), self._there)
        os.replace(self.part, output_file)
        self.tag.unlink(missing_ok=True)

    def _there(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _transfer(self, url: str) -> None:
        start = self._there()
        tag = self.tag.read_text(encoding="utf-8").strip() if self.tag.is_file() else ""
        if (start and not tag and not self.checked) or (self.size is not None and start > self.size):
            self.discard()
            start = 0
        if start == self.size and self.part.is_file():
            self.resumed = True
            return
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-"} | ({"If-Range": tag} if tag else {})
        with self.web.get(url, headers) as answer:
            expected = self._expected(answer, start)
            if answer.status_code == 200:
                start = 0
            if not start:
                self.tag.write_text(_validator(answer), encoding="utf-8")
            self.resumed = self.resumed or start > 0
            with self.part.open("ab" if start else "wb") as sink:
                got = start
                for block in answer.iter_content(self.web.chunk):
                    got += len(block)
                    if expected is not None and got > expected:
                        break
                    sink.write(block)
                    self.tick(got)
        if expected is not None and got > expected:
            self.discard()
            raise PhospheneError(f"{url} sends more than the {amount(expected)} announced: look at the data set's page")
        if expected is not None and got < expected:
            raise Passing(f"{urlsplit(url).netloc} ended a transfer at {amount(got)} of {amount(expected)}")

    def _expected(self, answer: requests.Response, start: int) -> int | None:
        """How long the whole file will be; an answer that does not fit is refused before a byte of it is kept."""
        name = self.part.name.removesuffix(PART)
        if answer.status_code == 416:
            self.discard()
            raise Passing(f"{name}: the server does not go on at {amount(start)}")
        if "html" in answer.headers.get("Content-Type", "") and not name.lower().endswith((".html", ".htm")):
            raise PhospheneError(f"{name}: the server sends a web page in its place: look at the data set's page")
        length: int | None = None
        if answer.status_code == 206:
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != start:
                self.discard()
                raise Passing(f"{name}: the server sends another part than was asked for")
            length = int(span[3]) if span[3] != "*" else None
        elif "Content-Encoding" not in answer.headers and answer.headers.get("Content-Length", "").isdecimal():
            length = int(answer.headers["Content-Length"])
        if self.size is not None and length not in (None, self.size):
            raise PhospheneError(
                f"{name}: the server announces {length} bytes, its listing {self.size}: look at the data set's page"
            )
        return length if self.size is None else self.size


def _validator(answer: requests.Response) -> str:
    etag: str = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def _reason(error: Exception) -> str:
    """The innermost words of a nested network error."""
    kind = {
        "ChunkedEncodingError": "the transfer broke",
        "ReadTimeout": "no answer",
        "ConnectTimeout": "no answer",
        "ConnectionError": "no connection",
        "SSLError": "no trusted connection",
        "TooManyRedirects": "too many redirects",
    }.get(type(error).__name__)
    return kind or type(error).__name__
