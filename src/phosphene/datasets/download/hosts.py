"""What a host says it has: names, sizes and checksums, asked through its public interface at the time of fetching.

OSF API v2 (developer.osf.io), figshare API v2 (docs.figshare.com), S3 ListObjectsV2 for OpenNeuro's public bucket,
huggingface_hub for the Hub. An answer of another shape is an error that names the page where a person can look.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from phosphene.datasets.download.names import no_clash, safe_path, slug
from phosphene.datasets.download.sources import Source
from phosphene.datasets.download.web import Absent, Web
from phosphene.errors import PhospheneError

MOST_FILES = 200_000
MOST_PAGES = 5_000
DEEPEST = 20  # folders in folders, components in components


@dataclass(frozen=True)
class RemoteFile:
    path: str
    size: int | None
    checksum: str | None = None
    """`md5:...` or `sha256:...`, where the host gives one."""
    url: str = ""


@dataclass(frozen=True)
class Listing:
    """What a host has under one id."""

    files: list[RemoteFile]
    title: str = ""
    licence: str = ""
    revision: str = ""


def listing(source: Source, web: Web) -> Listing:
    """Ask the host; the first id that answers counts, and every name is safe.

    Raises
    ------
    PhospheneError
        If no id is known there, the answer is not as the interface describes it, the title is another data set's, or a
        name is unsafe.
    """
    for number, identifier in enumerate(source.ids, 1):
        try:
            found = HOSTS[source.host](web, identifier)
            break
        except Absent:
            if number == len(source.ids):
                raise PhospheneError(
                    f"{source.host} has no {' or '.join(source.ids)}: look at {source.page} where the data went"
                ) from None
        except PhospheneError:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, ElementTree.ParseError):
            raise PhospheneError(
                f"the answer of {source.host} on {identifier} is not as expected: download by hand from {source.page}"
            ) from None
    if source.title.casefold() not in found.title.casefold():
        raise PhospheneError(
            f"refused, {source.host} {identifier} is titled {found.title[:80]!r}, not '{source.title}': "
            f"download by hand from {source.page}"
        )
    if not found.files:
        raise PhospheneError(f"{source.host} lists no file under {identifier}: look at {source.page}")
    for file in found.files:
        safe_path(file.path, source.name)
        if not isinstance(file.url, str):
            raise PhospheneError(f"{source.host} gives no address for {file.path}: download by hand from {source.page}")
    no_clash((file.path for file in found.files), source.name)
    return found


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _checksum(**values: Any) -> str | None:
    """The strongest well-formed one."""
    for algorithm, digits in (("sha256", 64), ("md5", 32)):
        value = values.get(algorithm)
        if isinstance(value, str) and re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", value):
            return f"{algorithm}:{value.lower()}"
    return None


# OSF


def osf(web: Web, guid: str) -> Listing:
    """A project or component, with its components as folders; or one file."""
    root = web.roots["osf"]
    try:
        node = web.json(f"{root}/nodes/{guid}/?embed=license")["data"]
    except Absent:
        item = web.json(f"{root}/files/{guid}/")["data"]
        return Listing([_osf_file(item, "")], item["attributes"]["name"])
    about = node["attributes"]
    embedded = node.get("embeds") or {}
    licence = ((embedded.get("license") or {}).get("data") or {}).get("attributes") or {}
    return Listing(list(_osf_node(web, guid, "", 0)), str(about["title"]), str(licence.get("name") or ""))


def _osf_node(web: Web, guid: str, prefix: str, depth: int) -> Iterator[RemoteFile]:
    root = web.roots["osf"]
    yield from _osf_folder(web, f"{root}/nodes/{guid}/files/osfstorage/?page[size]=100", prefix, depth)
    taken: set[str] = set()
    for child in _osf_pages(web, f"{root}/nodes/{guid}/children/?page[size]=100"):
        name = slug(str(child["attributes"]["title"])) or child["id"]
        name = f"{name}_{child['id']}" if name in taken else name
        taken.add(name)
        yield from _osf_node(web, _guid(child["id"]), f"{prefix}{name}/", _deeper(depth))


def _osf_folder(web: Web, url: str, prefix: str, depth: int) -> Iterator[RemoteFile]:
    for item in _osf_pages(web, url):
        about = item["attributes"]
        if about["kind"] == "folder":
            inner = item["relationships"]["files"]["links"]["related"]["href"]
            name = safe_path(about["name"], "osf")
            yield from _osf_folder(web, inner, f"{prefix}{name}/", _deeper(depth))
        else:
            yield _osf_file(item, prefix)


def _osf_file(item: Any, prefix: str) -> RemoteFile:
    about = item["attributes"]
    hashes = (about.get("extra") or {}).get("hashes") or {}
    checksum = _checksum(sha256=hashes.get("sha256"), md5=hashes.get("md5"))
    return RemoteFile(
        prefix + safe_path(about["name"], "osf"), _size(about.get("size")), checksum, item["links"]["download"]
    )


def _osf_pages(web: Web, url: str | None) -> Iterator[Any]:
    seen: set[str] = set()
    count = 0
    while url:
        if web.origin(url) != web.origin(web.roots["osf"]) or url in seen or len(seen) >= MOST_PAGES:
            raise PhospheneError(f"refused, osf's listing leads elsewhere or in a circle: {url[:200]!r}")
        seen.add(url)
        page = web.json(url)
        for item in page["data"]:
            if (count := count + 1) > MOST_FILES:
                raise PhospheneError(f"refused, osf lists more than {MOST_FILES} entries in one folder")
            yield item
        url = (page.get("links") or {}).get("next")


def _guid(value: Any) -> str:
    if not re.fullmatch(r"[a-z0-9]{3,20}", value):
        raise PhospheneError(f"refused, {str(value)[:40]!r} is not an OSF id")
    return str(value)


def _deeper(depth: int) -> int:
    if depth >= DEEPEST:
        raise PhospheneError(f"refused, osf's folders go deeper than {DEEPEST}: download by hand")
    return depth + 1


# figshare


def figshare(web: Web, number: str) -> Listing:
    """An article and all pages of its files."""
    root, per_page = web.roots["figshare"], 100
    article = web.json(f"{root}/articles/{number}")
    files: dict[Any, RemoteFile] = {}
    for page in range(1, MOST_PAGES):
        items = web.json(f"{root}/articles/{number}/files?page={page}&page_size={per_page}")
        before = len(files)
        for item in items:
            if item.get("is_link_only"):
                raise PhospheneError(f"figshare only links to {item['name']!r}: download by hand from the article")
            checksum = _checksum(md5=item.get("computed_md5") or item.get("supplied_md5"))
            files[item["id"]] = RemoteFile(item["name"], _size(item.get("size")), checksum, item["download_url"])
        if len(items) < per_page or len(files) == before:
            break
    licence = (article.get("license") or {}).get("name") or ""
    return Listing(list(files.values()), str(article["title"]), str(licence))


# OpenNeuro


def openneuro(web: Web, prefix: str) -> Listing:
    """All objects of the public bucket under a prefix; names are relative to the data set."""
    root, dataset = web.roots["openneuro"], prefix.split("/")[0]
    files: list[RemoteFile] = []
    token = ""
    for _ in range(MOST_PAGES):
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        body = web.text(f"{root}?{urlencode(query)}")
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise PhospheneError("refused, openneuro's answer is not a plain list")
        tree = ElementTree.fromstring(body)
        if not tree.tag.endswith("ListBucketResult"):
            raise KeyError(tree.tag)
        for item in tree.iterfind("{*}Contents"):
            key = item.findtext("{*}Key") or ""
            if key.endswith("/"):
                continue
            if not key.startswith(prefix):
                raise PhospheneError(f"refused, openneuro lists {key[:100]!r} under {prefix}")
            size = item.findtext("{*}Size") or ""
            etag = (item.findtext("{*}ETag") or "").strip('"')  # the md5, unless it was uploaded in pieces
            files.append(
                RemoteFile(
                    key.removeprefix(f"{dataset}/"),
                    int(size) if size.isdecimal() else None,
                    _checksum(md5=etag),
                    f"{root}/{quote(key)}",
                )
            )
        token = tree.findtext("{*}NextContinuationToken") or ""
        if not token:
            break
    try:
        about = web.json(f"{root}/{dataset}/dataset_description.json")
    except PhospheneError:  # only for the notice
        about = {}
    return Listing(files, str(about.get("Name") or ""), str(about.get("License") or ""))


# Hub


def hub(web: Web, repo: str) -> Listing:
    """A data set of the Hub at its newest revision; huggingface_hub itself downloads it, and resumes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]
    from huggingface_hub.hf_api import RepoFile

    def ask() -> Listing:
        api = HfApi()
        info = api.dataset_info(repo)
        card = info.card_data.to_dict() if info.card_data else {}
        tree = api.list_repo_tree(repo, repo_type="dataset", recursive=True, revision=info.sha)
        files = [
            RemoteFile(f.path, _size(f.size), _checksum(sha256=f.lfs.sha256 if f.lfs else None))
            for f in tree
            if isinstance(f, RepoFile)
        ]
        return Listing(files, repo, str(card.get("license") or ""), str(info.sha or ""))

    try:
        return ask()
    except RepositoryNotFoundError:
        raise Absent(f"the Hub has no data set {repo}") from None
    except (OSError, HTTPError) as error:
        raise PhospheneError(f"the Hub does not list {repo} ({type(error).__name__}): try again later") from None


HOSTS: dict[str, Callable[[Web, str], Listing]] = {
    "osf": osf,
    "figshare": figshare,
    "openneuro": openneuro,
    "hub": hub,
}


def chosen(found: Listing, *patterns: str | None) -> Listing:
    """Only the files that match every pattern: one with `*`, `?` or `[` is of the whole path, plain text of a part."""
    from fnmatch import fnmatchcase

    files = found.files
    for pattern in patterns:
        if pattern:
            wild = any(c in pattern for c in "*?[")
            kept = [f for f in files if (fnmatchcase(f.path, pattern) if wild else pattern in f.path)]
            if not kept:
                some = ", ".join(f.path for f in files[:3])
                raise PhospheneError(f"no file matches '{pattern}': there are {len(files)}, such as {some}")
            files = kept
    return replace(found, files=files)
