"""The endpoint captioner, against a server of this test's own that fails, waits, lies and listens."""

import base64
import contextlib
import io
import json
import logging
import socket
import threading
import traceback
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from typer.testing import CliRunner

from phosphene.captions import SLOTS, pictures_in, write
from phosphene.captions.endpoint import Clock
from phosphene.cli import app
from phosphene.errors import PhospheneError
from phosphene.registry import build

KEY = "sk-test-0123456789-secret"
TWO = SLOTS[:2]
GOOD = {"ObjectSnap": "a red car", "KindName": "a vehicle"}


def chat(said, **message):
    text = said if isinstance(said, str) or said is None else json.dumps(said)
    answer = {
        "choices": [{"message": {"content": text, **message}}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 20},
    }
    return 200, {}, json.dumps(answer).encode()


class Server:
    """Answers are used up, one a request; the last one stays."""

    def __init__(self):
        self.answers, self.heard = [chat(GOOD)], []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.heard.append((self.path, dict(self.headers), body))
                status, headers, text = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Time:
    """A clock that passes only by sleeping."""

    def __init__(self):
        self.t, self.slept = 0.0, []

    def clock(self):
        return Clock(lambda: self.t, self.sleep, lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda: 1.0)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.t += seconds


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (900, 300), (80 * i, 0, 0)).save(folder / f"p{i}.png")
    return pictures_in(folder)


def captioner(server, **more):
    made = build("captioner", "openai", **{"model": "see", "base_url": server.url, "per_minute": 6e6, **more})
    made.time = Time()
    made.clock = made.time.clock()
    return made


def agreed(notice):
    return True


def test_one_request_asks_for_all_slots_of_a_picture(server, pictures, tmp_path):
    made = captioner(server, extra={"temperature": 0})
    table = write(made, pictures, tmp_path / "c", TWO, agree=agreed)
    assert [dict(row) for _, row in table.wide().iterrows()] == [GOOD] * 3
    assert len(server.heard) == 3
    path, headers, body = server.heard[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"]) == ("see", 0)
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"] == {"ObjectSnap": {"type": "string"}, "KindName": {"type": "string"}}
    text, picture = body["messages"][0]["content"]
    assert all(slot.prompt in text["text"] for slot in TWO)
    kind, data = picture["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert sent.size == (512, 171)
    assert made.total() == "900 tokens in and 60 out, as 127.0.0.1 counts them"


def test_failures_that_pass_are_tried_again_with_growing_pauses(server, pictures, tmp_path):
    date = "Thu, 01 Jan 2026 00:01:30 GMT"
    server.answers = [
        (500, {}, b""),
        (503, {}, b""),
        (429, {"Retry-After": "17"}, b""),
        (429, {"Retry-After": date}, b""),
        (200, {}, b"<html>"),
        chat(GOOD),
    ]
    made = captioner(server)
    assert write(made, pictures[:1], tmp_path / "c", TWO, agree=agreed).wide().at["p0", "KindName"] == "a vehicle"
    assert made.time.slept == [2.0, 4.0, 17.0, 90.0, 32.0]
    made.clock.chance = lambda: 0.0
    server.answers = [(500, {}, b""), chat(GOOD)]
    write(made, pictures[1:2], tmp_path / "d", TWO, agree=agreed)
    assert made.time.slept[-1] == 1.0  # jitter halves the pause at most


def test_giving_up_keeps_what_was_said_and_goes_on_later(server, pictures, tmp_path):
    server.answers = [chat(GOOD), (500, {}, b"")]
    with pytest.raises(PhospheneError, match="answers 500, 6 times: repeat the command to resume"):
        write(captioner(server), pictures, tmp_path / "c", TWO, agree=agreed)
    server.answers, before = [chat(GOOD)], len(server.heard)
    assert len(write(captioner(server), pictures, tmp_path / "c", TWO, agree=agreed).wide()) == 3
    assert len(server.heard) - before == 2  # p0 was not asked again
    server.answers = [(429, {"Retry-After": "7200"}, b"")]
    with pytest.raises(PhospheneError, match="asks to wait 120 minutes"):
        write(captioner(server), pictures, tmp_path / "d", TWO, agree=agreed)


def test_requests_a_minute_are_limited(server, pictures, tmp_path):
    made = captioner(server, per_minute=10)
    write(made, pictures, tmp_path / "c", TWO, agree=agreed)
    assert made.time.slept == [6.0, 6.0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, {}, b'{"error": {"message": "no such model"}}'), r"answers 400 \(no such model\)"),
        ((404, {}, b"[]"), "answers 404 .no reason given"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "answers 302"),
        ((401, {}, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()), "refuses the key"),
        ((429, {}, b'{"error": {"message": "You exceeded your quota."}}'), "exceeded your quota"),
        ((200, {}, b"x" * 2_000_000), "does not end"),
    ],
)
def test_what_will_not_pass_stops_at_once(server, pictures, tmp_path, answer, message):
    server.answers = [answer]
    with pytest.raises(PhospheneError, match=message):
        write(captioner(server), pictures, tmp_path / "c", TWO, agree=agreed)
    assert len(server.heard) == 1


BAD = [
    chat("a red car"),
    chat("[]"),
    chat({"ObjectSnap": "a red car"}),
    chat({**GOOD, "KindName": 3}),
    chat({**GOOD, "KindName": " \u202e"}),
    chat(None, refusal="no"),
    chat(""),
    (200, {}, b"[]"),
    (200, {}, b'{"choices": []}'),
    chat("[" * 100_000),
]


@pytest.mark.parametrize("answer", BAD)
def test_an_unusable_answer_is_asked_again_once(server, pictures, tmp_path, answer):
    server.answers = [answer, chat("```json\n" + json.dumps({**GOOD, "more": [1]}) + "\n```")]
    assert write(captioner(server), pictures[:1], tmp_path / "c", TWO, agree=agreed).wide().at["p0", "ObjectSnap"]
    assert len(server.heard) == 2


def test_a_picture_that_is_refused_stops_nobody_but_a_mute_model_does(server, pictures, tmp_path):
    server.answers = [chat(None, refusal="no"), chat(None, refusal="no"), chat(GOOD)]
    wide = write(captioner(server), pictures, tmp_path / "c", TWO, agree=agreed).wide()
    assert wide["KindName"].tolist() == ["", "a vehicle", "a vehicle"]
    server.answers = [chat("no")]
    made = captioner(server)
    with pytest.raises(PhospheneError, match="5 pictures in a row"):
        made.say([Image.new("RGB", (4, 4))] * 9, TWO)


def test_answers_are_bounded_plain_text(server, pictures, tmp_path):
    server.answers = [chat({"ObjectSnap": "=a\x1b[2J\nred\u0000 car" + "r" * 9000, "KindName": "a vehicle"})]
    said = write(captioner(server), pictures[:1], tmp_path / "c", TWO, agree=agreed).wide().at["p0", "ObjectSnap"]
    assert said.startswith("a[2J red car")
    assert said.isprintable()
    assert len(said) == 600


def test_the_cost_is_said_and_agreed_to_before_anything_is_sent(server, pictures, tmp_path):
    shown = []
    with pytest.raises(PhospheneError, match="nothing was sent"):
        write(
            captioner(server, price_in=2.0, price_out=10.0),
            pictures,
            tmp_path / "c",
            TWO,
            agree=lambda notice: shown.append(notice),
        )
    assert server.heard == []
    assert not (tmp_path / "c").exists()
    assert "3 pictures of at most 512 pixels a side go to 127.0.0.1, model see: 3 requests" in shown[0]
    assert "at most about 0.0" in shown[0]
    with pytest.raises(PhospheneError, match="cost unknown"):
        write(captioner(server), pictures, tmp_path / "c", TWO)
    dear, cheap = (captioner(server, price_in=1e6, price_out=p).notice(pictures, TWO) for p in (0.0, 1e6))
    cost = [float(n.split("at most about ")[1].split()[0].replace(",", "")) for n in (dear, cheap)]
    assert cost[1] - cost[0] == 3 * (32 + 16 + 16)  # tokens out at one unit each: both limits and 8 a slot


def test_the_key_is_nowhere(server, pictures, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    said = []
    for answer in (
        (500, {}, KEY.encode()),
        (400, {}, json.dumps({"error": {"message": f"Incorrect API key {KEY}"}}).encode()),
        (401, {}, json.dumps({"error": KEY}).encode()),
        (429, {}, json.dumps({"error": {"message": f"quota of {KEY}"}}).encode()),
        (302, {"Location": f"http://127.0.0.1:9/?{KEY}"}, b""),
    ):
        server.answers = [answer]
        made = captioner(server)
        with pytest.raises(PhospheneError) as caught:
            write(made, pictures, tmp_path / "c", TWO, agree=agreed)
        said.append(made.notice(pictures, TWO))
        said += [str(caught.value), repr(made), repr(vars(made)), json.dumps(made.config()), made.identity()]
        said.append("".join(traceback.format_exception(caught.value)))
    server.answers = [chat({"ObjectSnap": f"a {KEY} car", "KindName": "a vehicle"})]
    assert write(made, pictures, tmp_path / "c", TWO, agree=agreed).wide().at["p0", "ObjectSnap"] == "a *** car"
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(PhospheneError) as caught:
        write(made, pictures, tmp_path / "d", TWO, agree=agreed)
    said += ["".join(traceback.format_exception(caught.value))]
    assert any(headers["Authorization"] == f"Bearer {KEY}" for _, headers, _ in server.heard)  # it was sent
    assert KEY not in caplog.text
    assert [text for text in said if KEY in text] == []
    assert [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()] == []
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nX-Other: é")
    with pytest.raises(PhospheneError, match="cannot be sent") as caught:
        made.say([Image.new("RGB", (4, 4))], TWO)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_key_in_the_wrong_place_is_refused_without_repeating_it():
    for wrong in (
        {"key_from": KEY},
        {"key_from": "0123456789abcdef"},
        {"base_url": f"https://me:{KEY}@127.0.0.1/v1"},
        {"base_url": f"https://127.0.0.1/v1?key={KEY}"},
    ):
        with pytest.raises(PhospheneError) as caught:
            build("captioner", "openai", model="see", **wrong)
        assert KEY not in str(caught.value)
        assert "0123456789abcdef" not in str(caught.value)


def test_a_key_goes_only_where_it_is_safe(server, monkeypatch, pictures, tmp_path):
    with pytest.raises(PhospheneError, match="unencrypted"):
        build("captioner", "openai", model="see", base_url="http://example.org/v1")
    assert build("captioner", "openai", model="see", base_url="http://example.org/v1", key_from="").host
    with pytest.raises(PhospheneError, match="not an address"):
        build("captioner", "openai", model="see", base_url="ftp://example.org")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(PhospheneError, match="OPENAI_API_KEY is not set"):
        write(build("captioner", "openai", model="see"), pictures, tmp_path / "c", TWO, agree=agreed)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    write(captioner(server), pictures[:1], tmp_path / "c", TWO, agree=agreed)
    assert "Authorization" not in server.heard[0][1]  # this machine, no key: nothing is sent, not from .netrc either


def test_from_the_command_line(server, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_KEY", KEY)
    command = [
        "caption",
        "--images",
        str(tmp_path / "pictures"),
        "--by",
        "openai",
        "--set",
        "model=see",
        "--set",
        f"base_url={server.url}",
        "--set",
        "key_from=LAB_KEY",
        "--set",
        "per_minute=6e6",
        "--slot",
        "KindName",
        "--slot",
        "ObjectSnap",
        "--out",
        str(tmp_path / "c"),
    ]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "go to 127.0.0.1" in refused.output
    assert "add --yes" in refused.output
    assert server.heard == []
    done = CliRunner().invoke(app, [*command, "--yes"])
    assert done.exit_code == 0, done.output
    assert "3 stimuli, 2 slots" in done.output
    assert "900 tokens in" in done.output
    assert CliRunner().invoke(app, command).exit_code == 0  # all is there: nothing to agree to
    assert len(server.heard) == 3


class Trickle:
    """A server that begins an answer, and goes on with it, a byte now and then, until the test is over."""

    def __init__(self, begin: bytes, more: bytes):
        self.over, self.listening = threading.Event(), socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"
        self.begin, self.more = begin, more
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while not self.over.is_set():
            try:
                peer, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.trickle, args=(peer,), daemon=True).start()

    def trickle(self, peer):
        with peer, contextlib.suppress(OSError):
            peer.recv(1 << 20)
            peer.sendall(self.begin)
            while not self.over.wait(0.01):
                peer.sendall(self.more)

    def close(self):
        self.over.set()
        self.listening.close()


TRICKLES = {
    "of a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "of chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "of one header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "of promises": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "of nothing": (b"", b""),
    "of an error": (b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n", b" "),
}


@pytest.mark.parametrize("name", TRICKLES)
def test_an_answer_that_never_ends_is_given_up(monkeypatch, pictures, tmp_path, name):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = Trickle(*TRICKLES[name])
    try:
        with pytest.raises(PhospheneError, match=r"gives no whole answer within 0.05 s, 2 times: repeat the command"):
            write(captioner(made, deadline=0.05, tries=2), pictures, tmp_path / "c", TWO, agree=agreed)
    finally:
        made.close()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_deadline_is_a_time(server, value):
    with pytest.raises(PhospheneError, match="deadline: (give a finite number|Input should be greater than 0)"):
        captioner(server, deadline=value)


@pytest.mark.parametrize("answer", BAD)
def test_answers_none_of_which_is_usable_are_a_failure(server, pictures, tmp_path, answer):
    server.answers = [answer]
    with pytest.raises(PhospheneError, match="no usable caption of any of 3 stimuli, so nothing is kept"):
        write(captioner(server), pictures, tmp_path / "c", TWO, agree=agreed)
    assert not (tmp_path / "c").exists()


def test_a_few_unusable_answers_are_counted(server, pictures, tmp_path, monkeypatch):
    refusal = chat(None, refusal="no")
    command = [
        "caption",
        "--images",
        str(tmp_path / "pictures"),
        "--by",
        "openai",
        "--set",
        "model=see",
        "--set",
        f"base_url={server.url}",
        "--set",
        "per_minute=6000000",
        "--slot",
        "ObjectSnap",
        "--slot",
        "KindName",
        "--yes",
        "--out",
        str(tmp_path / "c"),
    ]
    server.answers = [refusal, refusal, chat(GOOD), refusal]  # the first and the last picture
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "2 of them have no caption because no answer was usable" in " ".join(done.output.split())
    server.answers = [refusal]  # asked again, and refused again: what was said stays
    assert CliRunner().invoke(app, command).exit_code == 0
    server.answers = [chat(GOOD)]
    done = CliRunner().invoke(app, command)
    assert "no caption" not in done.output
