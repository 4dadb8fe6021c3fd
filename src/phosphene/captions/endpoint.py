"""Captions by any endpoint that speaks OpenAI's chat interface: a company's, or a server of one's own.

One request a picture asks for every slot at once, as JSON of a given schema. The key is read from the environment for
each request and is kept nowhere; where an answer repeats it, it is struck out. Redirects are not followed.
"""

import base64
import email.utils
import io
import json
import logging
import math
import os
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import requests
from PIL import Image

from phosphene.captions.base import Captioner, clean
from phosphene.captions.slots import Slot
from phosphene.captions.tokens import estimate
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Count, Duration, Positive, Weight, ZeroOrMore
from phosphene.utils.files import digest
from phosphene.utils.pictures import upright
from phosphene.utils.retries import Passing, persist

LARGEST_ANSWER = 1 << 20  # bytes
UNUSABLE = 5  # pictures in a row without a usable answer
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TASK = (
    "You describe a picture for a study of what people see. Say only what the picture shows. Answer with one JSON "
    "object that has these keys, each with one caption in lower case as its value:"
)
log = logging.getLogger(__name__)


@dataclass
class Clock:
    """Time and chance, which tests replace. ``now`` in s from any start."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    date: Callable[[], datetime] = lambda: datetime.now(UTC)
    chance: Callable[[], float] = random.random


class _Unusable(Exception):
    """An answer without the captions that were asked for."""


class _Bearer(requests.auth.AuthBase):
    """Puts the key into a request's header. Any `auth` also keeps `requests` from reading ~/.netrc."""

    def __init__(self, variable: str):
        self.variable = variable

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key := _key(self.variable):
            request.headers["Authorization"] = f"Bearer {key}"
        return request


@register("captioner", "openai")
class OpenAI(Captioner):
    """Captions by an OpenAI-compatible endpoint (`/chat/completions` with pictures and a JSON schema).

    Parameters
    ----------
    model : as the endpoint calls it.
    base_url : up to, and without, `/chat/completions`. Only https, unless no key is sent or it is this machine.
    key_from : name of the environment variable that holds the key; empty where none is needed.
    per_minute : requests a minute, at most.
    price_in, price_out : for a million tokens, in any currency; None where unknown.
    picture_tokens : tokens that a picture counts as; the default is GPT-4o's for one of 512 x 512 pixels. Other models
        count otherwise: see the provider's page.
    side : pictures are shrunk to this many pixels, on the longer side, before they are sent.
    structured : send the schema; False for an endpoint that knows none (the prompt asks for JSON in any case).
    tries : failures in a row before giving up.
    timeout : s without any answer that count as a failure.
    deadline : s after which an answer that is not whole counts as a failure, however steadily it trickles in.
    extra : further fields of the request, such as {"temperature": 0}.
    """

    def __init__(
        self,
        model: str,
        base_url: str = "https://api.openai.com/v1",
        key_from: str = "OPENAI_API_KEY",
        per_minute: Positive = 60.0,
        price_in: Weight | None = None,
        price_out: Weight | None = None,
        picture_tokens: ZeroOrMore = 255,
        side: Count = 512,
        structured: bool = True,
        tries: Count = 6,
        timeout: Duration = 120.0,
        deadline: Duration = 300.0,
        extra: dict[str, Any] | None = None,
    ):
        parts = urlsplit(base_url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise PhospheneError(
                "base_url holds a name, a password or a query: give the plain address; keys go by key_from"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not base_url.isprintable():
            raise PhospheneError(
                f"base_url {base_url!r} is not an address: write for instance http://localhost:8000/v1"
            )
        if key_from and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", key_from):
            raise PhospheneError("key_from is the NAME of an environment variable (capitals), never the key itself")
        if key_from and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise PhospheneError(
                f"a key would be sent to {parts.hostname} unencrypted: use https, or key_from='' for no key"
            )
        bounds = {"per_minute": per_minute, "side": side, "tries": tries, "timeout": timeout, "deadline": deadline}
        for name, value in bounds.items():
            if not 0 < value < math.inf:
                raise PhospheneError(f"{name} is {value}: give a number above 0")
        for name, cost in {"price_in": price_in, "price_out": price_out, "picture_tokens": picture_tokens}.items():
            if cost is not None and not 0 <= cost < math.inf:
                raise PhospheneError(f"{name} is {cost}: give a number of at least 0")
        self.model, self.base_url, self.key_from, self.per_minute = model, base_url.rstrip("/"), key_from, per_minute
        self.price_in, self.price_out, self.picture_tokens, self.side = price_in, price_out, picture_tokens, side
        self.structured, self.tries, self.extra = structured, tries, extra
        self.timeout, self.deadline = timeout, deadline
        self.host = parts.hostname
        self.clock = Clock()
        self.used = [0, 0]  # tokens in and out, as the endpoint counts them
        self._session = requests.Session()
        self._next, self._unusable = 0.0, 0

    def identity(self) -> str:
        return f"openai {self.model} at {self.host}, settings {digest([self.side, self.structured, self.extra], 6)}"

    def check(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> None:
        super().check(stimuli, slots)
        if self.key_from and self.host not in LOOPBACK and not _key(self.key_from):
            raise PhospheneError(
                f"the environment variable {self.key_from} is not set: export the key of {self.host} under that name, "
                "or set key_from to another one, or to '' where no key is needed"
            )

    def notice(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> str:
        n, minutes = len(stimuli), len(stimuli) / self.per_minute
        asked = n * (
            estimate(_task(slots))
            + self.picture_tokens
            + (estimate(json.dumps(_schema(slots))) if self.structured else 0)
        )
        answered = n * sum(slot.max_tokens + 8 for slot in slots)
        if self.price_in is None or self.price_out is None:
            cost = "cost unknown (set price_in and price_out, for a million tokens)"
        else:
            cost = f"at most about {(asked * self.price_in + answered * self.price_out) / 1e6:,.2f} at the prices given"
        return (
            f"{n:,} pictures of at most {self.side} pixels a side go to {self.host}, model {self.model}: "
            f"{n:,} requests, about {asked:,} tokens in and at most {answered:,} out, {cost}, "
            f"{minutes:,.1f} minutes or more"
        )

    def total(self) -> str:
        return (
            f"{self.used[0]:,} tokens in and {self.used[1]:,} out, as {self.host} counts them" if any(self.used) else ""
        )

    def say(self, images: Sequence[Image.Image], slots: Sequence[Slot]) -> list[dict[str, str]]:
        return [self._picture(image, slots) for image in images]

    def _picture(self, image: Image.Image, slots: Sequence[Slot]) -> dict[str, str]:
        """The captions; empty ones if two answers were unusable, and an error after five such pictures in a row."""
        body = self._body(image, slots)
        for _ in range(2):
            try:
                answer = persist(
                    lambda: self._paced(body), tries=self.tries, sleep=self.clock.sleep, chance=self.clock.chance
                )
                said = _captions(answer, slots)
                self._unusable = 0
                return {name: self._struck(caption) for name, caption in said.items()}
            except _Unusable as error:
                reason = str(error)
        self._unusable += 1
        log.warning("a picture stays without captions: %s", reason)
        if self._unusable >= UNUSABLE:
            raise PhospheneError(
                f"{self.model} gave {UNUSABLE} pictures in a row no usable answer ({reason}): try another model, or "
                f"structured={not self.structured}"
            )
        return {slot.name: "" for slot in slots}

    def _body(self, image: Image.Image, slots: Sequence[Slot]) -> dict[str, Any]:
        image, jpeg = upright(image).copy(), io.BytesIO()
        image.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        image.save(jpeg, "JPEG", quality=90)
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
        content = [{"type": "text", "text": _task(slots)}, {"type": "image_url", "image_url": {"url": url}}]
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        if self.structured:
            schema = {"name": "captions", "strict": True, "schema": _schema(slots)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body | (self.extra or {})

    def _paced(self, body: Mapping[str, Any]) -> Any:
        """The endpoint's answer to one request, which is not sent before its time has come."""
        pause = self._next - self.clock.now()
        if pause > 0:
            self.clock.sleep(pause)
        self._next = self.clock.now() + 60 / self.per_minute
        return self._once(body)

    def _once(self, body: Mapping[str, Any]) -> Any:
        """`_ask` in a thread of its own, which is left behind at the deadline: no timeout of a socket bounds the whole,
        since every byte starts it anew."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        given_up = threading.Event()

        def ask() -> None:
            try:
                done.put(self._ask(body, given_up))
            except Exception as error:
                done.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = done.get(timeout=self.deadline)
        except queue.Empty:
            given_up.set()
            self._session = requests.Session()  # the other is in use still
            raise Passing(f"{self.host} gives no whole answer within {self.deadline:g} s") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, body: Mapping[str, Any], given_up: threading.Event) -> Any:
        text = bytearray()
        try:
            with self._session.post(
                f"{self.base_url}/chat/completions",
                json=dict(body),
                auth=_Bearer(self.key_from),
                stream=True,
                timeout=(min(20.0, self.timeout), self.timeout),
                allow_redirects=False,
            ) as answer:
                status, wait = answer.status_code, self._wait(answer.headers.get("Retry-After", ""))
                for block in answer.iter_content(1 << 16):
                    text += block
                    if given_up.is_set():
                        return None
                    if len(text) > LARGEST_ANSWER:
                        raise PhospheneError(f"the answer of {self.host} does not end: check base_url")
        except requests.RequestException as error:
            raise Passing(f"{self.host}: {type(error).__name__}") from None
        if status == 200:
            return self._json(bytes(text))
        why = self._why(bytes(text))
        if status == 429 and "quota" in why.casefold():
            raise PhospheneError(f"{self.host} says: {why} Once that is settled, repeat the command to resume")
        if status in (408, 409, 425, 429) or status >= 500:
            raise Passing(f"{self.host} answers {status}", wait)
        if status in (401, 403):
            raise PhospheneError(f"{self.host} refuses the key ({status}): look at {self.key_from or 'key_from'}")
        raise PhospheneError(f"{self.host} answers {status} ({why or 'no reason given'}): look at model and base_url")

    def _wait(self, header: str) -> float:
        """Seconds that `Retry-After` asks for: a number, or a date."""
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", header):
            return float(header)
        try:
            until = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        return max(0.0, (until - self.clock.date()).total_seconds()) if until.tzinfo else 0.0

    def _json(self, text: bytes) -> Any:
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            raise Passing(f"{self.host} answers something other than JSON") from None
        usage = answer.get("usage") if isinstance(answer, dict) else None
        for i, name in enumerate(("prompt_tokens", "completion_tokens")):
            n = usage.get(name) if isinstance(usage, dict) else None
            self.used[i] += n if isinstance(n, int) and n > 0 else 0
        return answer

    def _why(self, text: bytes) -> str:
        """The reason in an error's body: text of at most 200 characters without the key."""
        try:
            reason = json.loads(text)["error"]
            reason = reason["message"] if isinstance(reason, dict) else reason
            return clean(self._struck(str(reason)))[:200]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""

    def _struck(self, text: str) -> str:
        key = _key(self.key_from)
        return text.replace(key, "***") if key else text


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise PhospheneError(f"the key in {variable} cannot be sent: use plain letters and symbols on one line")
    return key


def _task(slots: Sequence[Slot]) -> str:
    lines = (f"- {slot.name}: {slot.prompt} At most {slot.words} words." for slot in slots)
    return "\n".join((TASK, *lines))


def _schema(slots: Sequence[Slot]) -> dict[str, Any]:
    names = [slot.name for slot in slots]
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _captions(answer: Any, slots: Sequence[Slot]) -> dict[str, str]:
    """One text for each slot out of a chat answer, whatever else is in it."""
    try:
        message = answer["choices"][0]["message"]
        text = message["content"]
    except (KeyError, IndexError, TypeError):
        raise _Unusable("an answer of another form") from None
    if not isinstance(text, str) or not text.strip():
        raise _Unusable("a refusal" if message.get("refusal") else "an empty answer")
    text = re.sub(r"^\s*```(?:json)?\s*|\s*```\s*$", "", text)
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise _Unusable("an answer that is not JSON") from None
    if not isinstance(said, dict):
        raise _Unusable("JSON that is no object")
    captions = {slot.name: said.get(slot.name) for slot in slots}
    for name, caption in captions.items():
        if not isinstance(caption, str) or not clean(caption):
            raise _Unusable(f"no text for slot {name}")
    return captions  # type: ignore[return-value]
