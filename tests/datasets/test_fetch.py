"""Fetching, from a server of this test's own that breaks, lies and attacks."""

import hashlib
import json
import re
import stat
import struct
import threading
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import huggingface_hub
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import phosphene.datasets.download as fetching
from phosphene.cli import app
from phosphene.datasets.download import SOURCES, fetch, plan
from phosphene.datasets.download.hosts import listing
from phosphene.datasets.download.names import no_clash, safe_path, unpack
from phosphene.datasets.download.web import Web
from phosphene.errors import PhospheneError

BODY = bytes(range(256)) * 400
SIZE = len(BODY)  # 102,400 bytes
MD5, SHA = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()


class Served:
    """Bytes under an address. ``faults`` are used up, one a request."""

    def __init__(self, body=BODY, *faults, etag='"1"', kind="application/octet-stream"):
        self.body, self.faults, self.etag, self.kind = body, list(faults), etag, kind


class Host:
    def __init__(self):
        self.pages: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def put(self, path, body=BODY, *faults, **how):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.pages[path] = Served(body, *faults, **how)
        return self.url + path

    def ranges(self, path):
        return [span for asked, span in self.asked if asked == path]

    def answer(self, request):
        self.asked.append((request.path, request.headers.get("Range")))
        page = self.pages.get(request.path) or self.pages.get(urlsplit(request.path).path)
        fault = page.faults.pop(0) if page and page.faults else None
        if str(fault).startswith("http"):
            request.send_response(302)
            request.send_header("Location", fault)
            request.end_headers()
            return
        if page is None or isinstance(fault, int):
            request.send_response(fault or 404)
            request.send_header("Retry-After", "3")
            request.end_headers()
            return
        body, start, status = page.body, 0, 200
        span = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if span and fault != "ignore range" and request.headers.get("If-Range", page.etag) == page.etag:
            start, status = int(span[1]), 206
        if start >= len(body) > 0:
            request.send_response(416)
            request.end_headers()
            return
        request.send_response(status)
        if status == 206:
            start += 7 if fault == "other part" else 0
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        length = len(body) - start + {"too long": 50, "too short": -50}.get(fault, 0)
        if fault not in ("no length", "endless"):
            request.send_header("Content-Length", str(length))
        request.send_header("Content-Type", "text/html" if fault == "page" else page.kind)
        if page.etag:
            request.send_header("ETag", page.etag)
        request.end_headers()
        end = start + 30_000 if fault == "break" else len(body)
        with suppress(OSError):  # who asked has hung up
            for _ in range(2000 if fault == "endless" else 1):
                request.wfile.write(body[start:end])
                self.sent += end - start


@pytest.fixture
def host():
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


@pytest.fixture
def web(host):
    slept = []
    session = requests.Session()
    session.trust_env = False
    roots = {name: f"{host.url}/{name}" for name in ("osf", "figshare", "openneuro")}
    web = Web(roots, tries=3, sleep=slept.append, chunk=1 << 12, session=session)
    web.slept = slept
    return web


def osf(host, guid, files, title="Raw EEG", children=(), folder=None):
    """Fake answers of OSF for a node; ``files`` maps names to (address, size, md5)."""
    at = f"/osf/nodes/{guid}"
    host.put(
        f"{at}/",
        {
            "data": {
                "id": guid,
                "attributes": {"title": title},
                "embeds": {"license": {"data": {"attributes": {"name": "CC-By 4.0"}}}},
            }
        },
    )
    items = [
        {
            "attributes": {
                "name": name,
                "kind": "file",
                "size": size,
                "extra": {"hashes": {"md5": md5} if md5 else {}},
            },
            "links": {"download": url},
        }
        for name, (url, size, md5) in files.items()
    ]
    if folder:
        inner = host.url + f"/osf/nodes/{guid}/files/osfstorage/f1/"
        host.put(urlsplit(inner).path, {"data": items, "links": {"next": None}})
        items = [
            {
                "attributes": {"name": folder, "kind": "folder"},
                "relationships": {"files": {"links": {"related": {"href": inner}}}},
            }
        ]
    host.put(f"{at}/files/osfstorage/", {"data": items, "links": {"next": None}})
    kids = [{"id": child, "attributes": {"title": name}} for child, name in children]
    host.put(f"{at}/children/", {"data": kids, "links": {}})


def one(host, *faults, md5=MD5, size=SIZE, name="sub-01.bin", **how):
    """The raw THINGS-EEG2 row, of one file."""
    osf(host, "anp5v", {name: (host.put("/file", BODY, *faults, **how), size, md5)})


def get(web, to, **how):
    return fetch("things-eeg2-raw", to, web=web, **how)


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# Transfers


@pytest.mark.parametrize(
    "faults", [(), ("no length",), (500,), (503, 429, "break"), ("break", "break", "break")], ids=str
)
def test_what_passes_is_outlasted(host, web, tmp_path, faults):
    one(host, *faults)
    assert get(web, tmp_path) == [tmp_path / "sub-01.bin"]
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY
    assert left(tmp_path) == ["checksums.txt", "sub-01.bin"]
    assert (tmp_path / "checksums.txt").read_text() == f"{SHA}  sub-01.bin\n"
    assert len(web.slept) == len([f for f in faults if f != "no length"])


def test_a_broken_transfer_goes_on_where_it_broke(host, web, tmp_path):
    one(host, "break", "break")
    get(web, tmp_path)
    spans = host.ranges("/file")
    assert spans[0] is None
    starts = [int(s.removeprefix("bytes=").rstrip("-")) for s in spans[1:]]
    assert 0 < starts[0] <= 30_000 < starts[1] <= 60_000


def test_pauses_grow_are_capped_and_heed_the_server(host, web, tmp_path):
    one(host, 500, 500, 500)
    with pytest.raises(PhospheneError, match="500, 3 times: repeat the command to resume"):
        get(web, tmp_path)
    assert web.slept == [3.0, 4.0]  # Retry-After is 3


def test_a_later_call_goes_on_with_the_part_of_an_earlier_one(host, web, tmp_path):
    one(host, "break", 500, 500, 500)
    with pytest.raises(PhospheneError):
        get(web, tmp_path)
    assert not (tmp_path / "sub-01.bin").exists()
    kept = (tmp_path / "sub-01.bin.part").stat().st_size
    assert kept > 0
    assert plan("things-eeg2-raw", tmp_path, web=web).left == SIZE - kept
    get(web, tmp_path)
    assert host.ranges("/file")[-1] == f"bytes={kept}-"
    assert left(tmp_path) == ["checksums.txt", "sub-01.bin"]


def test_a_server_without_range_is_begun_again(host, web, tmp_path):
    one(host, "break", "ignore range")
    get(web, tmp_path)
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY


def test_an_answer_of_another_part_is_not_appended(host, web, tmp_path):
    one(host, "break", "other part", md5=None)
    get(web, tmp_path)
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"2"', ""])
def test_a_part_of_a_file_that_changed_is_dropped_where_no_checksum_tells(host, web, tmp_path, etag):
    (tmp_path / "sub-01.bin.part").write_bytes(b"old" * 1000)
    (tmp_path / "sub-01.bin.part.tag").write_text('"1"' if etag else "")
    one(host, md5=None, etag=etag)
    get(web, tmp_path)
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY


@pytest.mark.parametrize("length", [3000, SIZE, SIZE + 5])
def test_a_foreign_part_costs_one_more_download_at_most(host, web, tmp_path, length):
    (tmp_path / "sub-01.bin.part").write_bytes(b"x" * length)
    one(host)
    get(web, tmp_path)
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY
    assert len(host.ranges("/file")) <= 2
    assert web.slept == []


def test_an_endless_answer_is_cut_off(host, web, tmp_path):
    one(host, "endless", md5=None)
    with pytest.raises(PhospheneError, match="sends more than"):
        get(web, tmp_path)
    assert host.sent < 50e6
    assert left(tmp_path) == []


def test_a_redirect_is_followed_but_not_to_plain_http_elsewhere(host, web, tmp_path):
    one(host, host.put("/there"))
    get(web, tmp_path)
    one(host, host.url.replace("127.0.0.1", "localhost") + "/there", name="b")
    with pytest.raises(PhospheneError, match="not https"):
        get(web, tmp_path)
    assert "b" not in left(tmp_path)


def test_a_full_disk_is_one_line(host, web, tmp_path, monkeypatch):
    one(host)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching.pooch, "retrieve", full)
    with pytest.raises(PhospheneError, match="no space left.*repeat the command to resume"):
        get(web, tmp_path)


def test_a_part_at_its_end_of_a_file_of_unknown_size(host, web, tmp_path):
    (tmp_path / "sub-01.bin.part").write_bytes(BODY)
    one(host, size=None)
    get(web, tmp_path)
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY


def test_an_empty_file_is_a_file(host, web, tmp_path):
    osf(host, "anp5v", {"empty": (host.put("/file", b""), 0, None)})
    get(web, tmp_path)
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize(
    ("fault", "words"),
    [("page", "web page"), ("too long", "announces"), ("too short", "announces"), (404, "not there"), (403, "refuses")],
)
def test_what_will_not_pass_is_one_line_and_leaves_no_file(host, web, tmp_path, fault, words):
    one(host, fault, md5=None)
    with pytest.raises(PhospheneError, match=words) as error:
        get(web, tmp_path)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == []
    assert web.slept == []
    get(web, tmp_path)  # and the next call, of a server come to its senses, is whole
    assert left(tmp_path) == ["checksums.txt", "sub-01.bin"]


@pytest.mark.parametrize("how", [{"size": SIZE - 9}, {"size": SIZE + 9}])
@pytest.mark.parametrize("fault", [None, "no length"])
def test_a_listing_that_lies_about_the_length(host, web, tmp_path, how, fault):
    one(host, *[fault] * 9, md5=None, **how)
    with pytest.raises(PhospheneError):
        get(web, tmp_path)
    assert not (tmp_path / "sub-01.bin").exists()


def test_a_length_that_is_cut_short_is_never_taken_for_the_whole(host, web, tmp_path):
    one(host, *["too long"] * 9, md5=None, size=None)
    with pytest.raises(PhospheneError, match="repeat the command to resume"):
        get(web, tmp_path)
    assert not (tmp_path / "sub-01.bin").exists()


def test_a_wrong_checksum_keeps_nothing(host, web, tmp_path):
    one(host, md5="0" * 32)
    with pytest.raises(PhospheneError, match="does not have the checksum") as error:
        get(web, tmp_path)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == []


def test_there_already_means_no_request_and_changed_means_an_error(host, web, tmp_path):
    one(host, md5=None)
    get(web, tmp_path)
    assert len(host.ranges("/file")) == 1
    get(web, tmp_path)
    assert len(host.ranges("/file")) == 1
    path = tmp_path / "sub-01.bin"
    path.write_bytes(BODY[:-1] + b"!")
    with pytest.raises(PhospheneError, match="not what it was"):
        get(web, tmp_path)
    path.write_bytes(b"short")
    with pytest.raises(PhospheneError, match="bytes that osf lists"):
        get(web, tmp_path)
    assert path.read_bytes() == b"short"


def test_a_record_that_is_no_record(host, web, tmp_path):
    one(host)
    (tmp_path / "checksums.txt").write_text("hello\n")
    with pytest.raises(PhospheneError, match="remove that line"):
        get(web, tmp_path)


# Before the download


def test_the_notice_tells_terms_and_sizes_and_no_means_no(host, web, tmp_path):
    one(host, md5=None)
    heard = []
    assert get(web, tmp_path, agree=lambda text: heard.append(text)) == []
    for words in ("CC-By 4.0", "NeuroImage", "102.4 kB to come", "free at", "recorded in checksums.txt", "Raw EEG"):
        assert words in heard[0]
    assert host.ranges("/file") == []
    assert left(tmp_path) == []


def test_a_title_cannot_command_the_terminal(host, web, tmp_path):
    osf(host, "anp5v", {"a": (host.put("/file"), SIZE, MD5)}, title="x\x1b[2J")
    assert "\x1b" not in plan("things-eeg2-raw", tmp_path, web=web).notice()


def test_too_small_a_disk_is_refused(host, web, tmp_path):
    one(host, size=10**18)
    with pytest.raises(PhospheneError, match=r"needs 1000000.0 TB, .* free .*--only"):
        get(web, tmp_path / "not" / "yet")
    assert left(tmp_path) == []


def test_only_takes_a_subject(host, web, tmp_path):
    osf(host, "anp5v", {f"sub-0{s}.bin": (host.put(f"/{s}"), SIZE, MD5) for s in (1, 2, 3)}, folder="ses-01")
    assert get(web, tmp_path, only="sub-02") == [tmp_path / "ses-01" / "sub-02.bin"]
    assert get(web, tmp_path, only="*/sub-0[13].bin")[1].name == "sub-03.bin"
    with pytest.raises(PhospheneError, match=r"no file matches 'sub-11': there are 3, such as ses-01/sub-01.bin"):
        get(web, tmp_path, only="sub-11")


# Hosts


def test_osf_components_pages_and_a_second_id(host, web, tmp_path):
    osf(host, "3jk45", {}, "THINGS EEG2", [("aaaaa", "Raw EEG: data"), ("bbbbb", "Raw EEG / data")])
    osf(host, "aaaaa", {"x": (host.put("/file"), SIZE, MD5)}, folder="sub-01")
    osf(host, "bbbbb", {"x": (host.put("/file"), SIZE, None)})
    first = json.loads(host.pages["/osf/nodes/bbbbb/files/osfstorage/"].body)
    first["links"]["next"] = host.url + "/osf/more?page=2"
    host.put("/osf/nodes/bbbbb/files/osfstorage/", first)
    first["data"][0]["attributes"]["name"], first["links"]["next"] = "y", None
    host.put("/osf/more?page=2", first)
    found = listing(SOURCES["things-eeg2"], web)
    assert [(f.path, f.checksum) for f in found.files] == [
        ("Raw_EEG_data/sub-01/x", f"md5:{MD5}"),
        ("Raw_EEG_data_bbbbb/x", None),
        ("Raw_EEG_data_bbbbb/y", None),
    ]
    osf(host, "y63gw", {"images.zip": (host.put("/file"), SIZE, MD5)}, "Image set")
    assert listing(SOURCES["things-eeg2-images"], web).title == "Image set"  # jum2f is not there
    host.put(
        "/osf/files/jum2f/",
        {
            "data": {
                "attributes": {"name": "set.zip", "kind": "file", "size": 3},
                "links": {"download": host.url + "/file"},
            }
        },
    )
    assert [f.path for f in listing(SOURCES["things-eeg2-images"], web).files] == ["set.zip"]


def test_no_id_is_known_any_more(web):
    with pytest.raises(PhospheneError, match="osf has no jum2f or y63gw: look at https://osf.io"):
        listing(SOURCES["things-eeg2-images"], web)


@pytest.mark.parametrize("following", ["https://127.0.0.1:1/x", "same", 7, "http://[bad", "ftp://x/"])
def test_a_listing_that_leads_elsewhere_or_in_a_circle(host, web, following):
    one(host)
    path = "/osf/nodes/anp5v/files/osfstorage/"
    page = json.loads(host.pages[path].body)
    page["links"]["next"] = host.url + "/osf/again" if following == "same" else following
    host.put(path, page)
    host.put("/osf/again", page)
    with pytest.raises(PhospheneError, match="refused|not as expected"):
        listing(SOURCES["things-eeg2-raw"], web)


@pytest.mark.parametrize(
    "address", ["http://elsewhere.example/x", "file:///etc/passwd", "", None, "https://a/\x1b]0;b"]
)
def test_a_file_at_an_address_that_is_not_https(host, web, tmp_path, address):
    osf(host, "anp5v", {"a": (address, 3, None)})
    with pytest.raises(PhospheneError, match="refused|no address"):
        get(web, tmp_path)
    assert left(tmp_path) == []


def test_figshare_pages_of_files_and_its_title(host, web, tmp_path):
    at = "/figshare/articles/18470912"
    items = [
        {
            "id": n,
            "name": f"sub-{n:03d}.zip",
            "size": SIZE,
            "computed_md5": MD5,
            "is_link_only": False,
            "download_url": host.url + "/file",
        }
        for n in range(103)
    ]
    host.put("/file")
    host.put(f"{at}/files?page=1&page_size=100", items[:100])
    host.put(f"{at}/files?page=2&page_size=100", items[100:])
    about = {"title": "... for modeling human visual object recognition", "license": {"name": "CC BY 4.0"}}
    host.put(at, about)
    found = listing(SOURCES["things-eeg2-figshare"], web)
    assert (len(found.files), found.licence, found.files[102].path) == (103, "CC BY 4.0", "sub-102.zip")
    assert fetch("18470912", tmp_path, "sub-007", web=web)[0].read_bytes() == BODY
    host.put(at, about | {"title": "Beetles of Borneo"})
    with pytest.raises(PhospheneError, match="is titled 'Beetles of Borneo'"):
        listing(SOURCES["things-eeg2-figshare"], web)


def test_openneuro_pages_and_takes_only_the_epochs(host, web, tmp_path):
    def page(keys, token=""):
        rows = "".join(
            f"<Contents><Key>ds004212/derivatives/{k}</Key><Size>{SIZE}</Size><ETag>&quot;{e}&quot;</ETag></Contents>"
            for k, e in keys
        )
        more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return (
            f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}{more}'
            "</ListBucketResult>"
        ).encode()

    query = f"/openneuro?list-type=2&prefix={quote('ds004212/derivatives/', safe='')}"
    keys = [("preprocessed/preprocessed_P1-epo.fif", MD5), ("preprocessed/preprocessed_P1-epo-1.fif", f"{MD5}-2")]
    host.put(query, page([("README", MD5), keys[0]], "to+ken="))
    host.put(query + "&continuation-token=to%2Bken%3D", page(keys[1:]))
    host.put("/openneuro/ds004212/dataset_description.json", {"Name": "THINGS-MEG", "License": "CC0"})
    for key, _ in keys:
        host.put(f"/openneuro/ds004212/derivatives/{key}")
    work = plan("things-meg", tmp_path, web=web)
    assert [f.checksum for f in work.missing] == [f"md5:{MD5}", None]
    assert "CC0" in work.notice()
    fetch("things-meg", tmp_path, web=web)
    assert [p for p in left(tmp_path) if p.endswith("fif")] == [f"derivatives/{key}" for key, _ in reversed(keys)]
    host.put(query, b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult/>')
    with pytest.raises(PhospheneError, match="not a plain list"):
        listing(SOURCES["things-meg"], web)


ATM = "LidongYang/EEG_Image_decode"


@pytest.fixture
def hub(monkeypatch):
    """The Hub's calls, stubbed: `gives` is what a download leaves."""
    from huggingface_hub.hf_api import RepoFile, RepoFolder

    state = SimpleNamespace(gives=BODY, calls=[], listed=["EEG/sub-08/preprocessed_eeg_test.npy"])

    def tree(self, repo, **how):
        assert (repo, how) == (ATM, {"repo_type": "dataset", "recursive": True, "revision": "cafe"})
        lfs = {"size": SIZE, "oid": SHA, "pointerSize": 1}
        yield RepoFolder(path="EEG", oid="1")
        yield from (RepoFile(path=p, size=SIZE, oid="1", lfs=lfs) for p in state.listed)
        yield RepoFile(path="README.md", size=SIZE, oid="2")

    def download(repo, path, *, repo_type, revision, local_dir):
        state.calls.append((repo, path, repo_type, revision))
        if isinstance(state.gives, Exception):
            raise state.gives
        (Path(local_dir) / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / path).write_bytes(state.gives)

    card = SimpleNamespace(to_dict=lambda: {"license": "apache-2.0"})
    info = SimpleNamespace(sha="cafe", card_data=card)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, repo: info)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_tree", tree)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return state


def test_the_hub_at_one_revision_with_its_checksum(hub, tmp_path):
    paths = fetch(ATM, tmp_path, "sub-08")
    assert hub.calls == [(ATM, "EEG/sub-08/preprocessed_eeg_test.npy", "dataset", "cafe")]
    assert paths[0].read_bytes() == BODY
    assert SHA in (tmp_path / "checksums.txt").read_text()
    fetch(ATM, tmp_path)
    assert [call[1] for call in hub.calls[1:]] == ["README.md"]


def test_the_hub_in_trouble(hub, tmp_path):
    from huggingface_hub.errors import HTTPError

    hub.gives = b"x" * SIZE
    with pytest.raises(PhospheneError, match="nothing was kept"):
        fetch(ATM, tmp_path, "sub-08")
    assert left(tmp_path) == []
    for trouble in (HTTPError("down"), OSError("down")):
        hub.gives = trouble
        with pytest.raises(PhospheneError, match="repeat the command to resume"):
            fetch(ATM, tmp_path, "sub-08")
    hub.listed = ["../../evil"]
    with pytest.raises(PhospheneError, match="refused"):
        fetch(ATM, tmp_path)


def test_by_hand_says_what_to_do_and_records_what_is_there(tmp_path):
    with pytest.raises(PhospheneError, match=r"tinyurl.com/eeg-visual.*eeg_55_95_std.pth.*into") as error:
        fetch("eegcvpr40", tmp_path)
    assert "\n" not in str(error.value)
    path = tmp_path / "block_splits_by_image_all.pth"
    path.write_bytes(BODY)
    assert fetch("eegcvpr40", tmp_path) == [path]
    path.write_bytes(BODY[1:])
    with pytest.raises(PhospheneError, match="not what it was"):
        fetch("eegcvpr40", tmp_path)


words = st.sampled_from(["data", "attributes", "links", "title", "name", "kind", "id", "next", "folder", "size", "x"])
answers = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.sampled_from(["things-eeg2-raw", "things-eeg2-figshare", "things-meg"]), st.lists(answers, min_size=1))
def test_an_odd_answer_is_our_error_or_none(name, script):
    web = Web({"osf": "https://a/osf", "figshare": "https://a/f", "openneuro": "https://a/o"}, sleep=lambda _: None)
    turn = iter(script)
    web.text = lambda url: json.dumps(next(turn, None)).encode()
    with suppress(PhospheneError):
        listing(SOURCES[name], web)


@pytest.mark.parametrize(
    "body", [b"<html>sorry</html>", b"[" * 100_000, b"\xff\xfe", b"", b"{}", b"[]", b'{"data": 3}']
)
@pytest.mark.parametrize("name", ["things-eeg2-raw", "things-eeg2-figshare", "things-meg"])
def test_an_answer_that_is_none(host, web, body, name):
    for path in ("/osf/nodes/anp5v/", "/figshare/articles/18470912", "/openneuro"):
        host.put(path, body)
    with pytest.raises(PhospheneError) as error:
        listing(SOURCES[name], web)
    assert "\n" not in str(error.value)


# Names and archives

HOSTILE = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a//b",
    "./a",
    "C:\\x",
    "c:x",
    "a\\..\\b",
    "a\x00b",
    "a\nb",
    "a\x1b[2J",
    "a\u202eb",
    "",
    "a/",
    "x" * 300,
    "checksums.txt",
    "a.part",
    "a.part.tag",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_refused(host, web, tmp_path, name):
    one(host, name=name)
    with pytest.raises(PhospheneError) as error:
        get(web, tmp_path / "to")
    assert str(error.value).isprintable()
    assert left(tmp_path) == []


@given(st.text(alphabet=st.sampled_from("ab./\\:~ \n\x00é"), max_size=12))
def test_an_accepted_name_stays_inside(name):
    try:
        accepted = safe_path(name, "test")
    except PhospheneError:
        return
    assert accepted == name
    root = Path("/fetched")
    assert (root / name).resolve().is_relative_to(root)
    assert (root / name).resolve() != root


@pytest.mark.parametrize("names", [["a", "A"], ["a", "a"], ["a/b", "a"]])
def test_names_that_clash(names):
    with pytest.raises(PhospheneError, match="refused"):
        no_clash(names, "test")


def test_a_link_out_of_the_folder_is_not_followed(host, web, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "to" / "ses-01").symlink_to(tmp_path / "outside")
    osf(host, "anp5v", {"a": (host.put("/file"), SIZE, MD5)}, folder="ses-01")
    with pytest.raises(PhospheneError, match="link"):
        get(web, tmp_path / "to")
    assert left(tmp_path / "outside") == []


def packed(members, compression=zipfile.ZIP_DEFLATED):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def member(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_archives_are_unpacked_on_request(host, web, tmp_path):
    body = packed([("sub-01/ses-01/a.npy", b"one"), ("sub-01/ses-02/", b""), ("__MACOSX/sub-01/._a", b"")])
    url = host.put("/file", body)
    osf(host, "anp5v", {"sub-01.zip": (url, len(body), hashlib.md5(body).hexdigest())})
    get(web, tmp_path)
    assert left(tmp_path) == ["checksums.txt", "sub-01.zip"]
    get(web, tmp_path, unpack_archives=True)
    assert left(tmp_path) == ["checksums.txt", "sub-01.zip", "sub-01/ses-01/a.npy"]
    get(web, tmp_path, unpack_archives=True)  # there already


BAD_ARCHIVES = {
    "parent": packed([("ok", b"1"), ("../evil", b"1")]),
    "absolute": packed([("/evil", b"1")]),
    "drive": packed([("C:evil", b"1")]),
    "backslash": packed([("a\\..\\evil", b"1")]),
    "link": packed([(member("l", stat.S_IFLNK | 0o777), b"/etc"), ("l/evil", b"1")]),
    "device": packed([(member("d", stat.S_IFIFO | 0o777), b"")]),
    "twice": packed([("a", b"1"), ("A", b"2")]),
    "bomb": packed([("zeros", bytes(80 << 20))]),
    "cut": packed([("a", b"1" * 1000)])[:-30],
    "no zip": BODY,
    "damaged": packed([("a", b"abcdefgh")], zipfile.ZIP_STORED).replace(b"abcdefgh", b"abcdefgX"),
    "encrypted": packed([("a", b"1")]).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
    "null": packed([("aXevil", b"1")]).replace(b"aXevil", b"a\x00evil"),
    "method": packed([("a", b"1")]).replace(struct.pack("<H", 8), struct.pack("<H", 77)),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_bad_archive_writes_nothing(tmp_path, kind):
    archive = tmp_path / "in" / "set.zip"
    archive.parent.mkdir()
    archive.write_bytes(BAD_ARCHIVES[kind])
    with pytest.raises(PhospheneError) as error:
        unpack(archive)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == ["in/set.zip"]
    assert not (tmp_path / "in" / "set").exists()


def test_an_archive_too_large_for_the_disk(tmp_path, monkeypatch):
    (tmp_path / "set.zip").write_bytes(packed([("a", b"1" * 5000)]))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4999))
    with pytest.raises(PhospheneError, match=r"grows to 5.0 kB, 5.0 kB are free"):
        unpack(tmp_path / "set.zip")


# The command


def command(*arguments, **how):
    return CliRunner().invoke(app, ["fetch", *map(str, arguments)], **how)


def test_the_command_lists_the_table_and_asks_first(host, web, tmp_path, monkeypatch):
    listed = command()
    assert listed.exit_code == 0
    assert all(name in listed.output for name in SOURCES)
    assert "--to FOLDER" in command("things-eeg2-raw").output
    assert "did you mean 'things-meg'" in command("things-megg", "--to", tmp_path).output
    one(host)
    monkeypatch.setattr(fetching, "Web", lambda: web)
    asked = command("things-eeg2-raw", "--to", tmp_path)
    assert asked.exit_code == 2
    assert "licence" in asked.output
    assert "--yes" in asked.output
    assert left(tmp_path) == []
    done = command("things-eeg2-raw", "--to", tmp_path, "--yes")
    assert done.exit_code == 0, done.output
    assert "files: 1 verified" in done.output
    assert (tmp_path / "sub-01.bin").read_bytes() == BODY


def test_every_row_is_whole():
    for name, row in SOURCES.items():
        assert row.name == name
        assert row.page.startswith("https://")
        assert row.citation
        assert bool(row.ids) != bool(row.by_hand)
