"""An object store by URL (``s3://``, ``gs://``): the few calls that a store of runs needs, over fsspec.

What is put is whole or not there. :meth:`Objects.create` is the commit: a conditional put, which succeeds
once (``If-None-Match: *`` of S3, ``ifGenerationMatch=0`` of Google's). Listings and reads see what
was put before (both services are strongly consistent); nothing else is assumed, so no object is ever renamed.
"""

import contextlib
import importlib
import logging
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import InputError
from lab.files import LIMIT, Refused

_URL = re.compile(r"(s3|gs):/+(.+)")  # a Path keeps one of the two slashes
_OTHER = re.compile(r"([a-z][a-z0-9+.-]+):/+.*")
_NEEDS = {"s3": "s3fs", "gs": "gcsfs"}
_SILENCE = 60.0  # seconds without a byte after which a request has failed, and is tried again


class Unreachable(OSError):
    """The object store does not answer, or refuses. No run is at fault."""


@dataclass(frozen=True)
class Entry:
    """Of a listing: bytes, what changes with the content, and when it was put, in seconds of the server."""

    size: int
    tag: str
    modified: float


def url_of(place: Path | str) -> str | None:
    """The URL that names an object store, also where a Path was made of it; None for a folder.

    Raises:
        InputError: for a URL of another kind, which as a folder would be one named after its scheme.
    """
    found = _URL.fullmatch(str(place))
    if not found and (other := _OTHER.fullmatch(str(place))):
        raise InputError(f"{place}: {other[1]}:// is not known; should be s3:// or gs://, or a folder")
    return f"{found[1]}://{found[2].rstrip('/')}" if found else None


class Objects:
    """The objects below a URL, by names relative to it.

    Raises:
        InputError: where the client for such URLs is not installed.
        Unreachable: from every method, for whatever the service or the network says.
    """

    def __init__(self, url: str):
        self.url = url
        scheme, _, self._root = url.partition("://")
        module = _NEEDS[scheme]
        try:
            importlib.import_module(module)
        except ImportError:
            mend = f"pip install -e '.[{scheme}]'" + (", or make .venv/.dev" if scheme == "s3" else "")
            raise InputError(f"{url}: {module} is not installed; {mend}") from None
        import fsspec

        for name in (module, "botocore", "aiobotocore", "asyncio"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._fs = fsspec.filesystem(scheme, use_listings_cache=False, **_patience(scheme))

    def get(self, name: str, limit: int = LIMIT) -> bytes:
        """All of an object. Raises FileNotFoundError, and Refused where it has more than ``limit`` bytes."""
        with self._told(name):
            content = self._fs.cat_file(self._at(name), start=0, end=limit + 1)
        if len(content) > limit:
            raise Refused(f"{self.url}/{name}: has more than {limit} bytes")
        return content

    def put(self, name: str, content: bytes) -> None:
        """Replace an object."""
        with self._told(name):
            self._fs.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> None:
        """Put an object that is not there yet. Raises FileExistsError: of several who try, one succeeds."""
        with self._told(name):
            self._fs.pipe_file(self._at(name), content, mode="create")

    def delete(self, name: str) -> None:
        """Remove an object; one that is gone is no error."""
        with contextlib.suppress(FileNotFoundError), self._told(name):
            self._fs.rm_file(self._at(name))

    def listing(self, prefix: str = "") -> dict[str, Entry]:
        """All objects whose names begin with ``prefix``, a folder that ends with a slash, or all."""
        with self._told(prefix):
            try:
                found = self._fs.find(self._at(prefix.rstrip("/")), detail=True)
            except FileNotFoundError:
                return {}
        return {name[len(self._root) + 1 :]: _entry(about) for name, about in found.items()}

    def upload(self, path: Path, name: str) -> None:
        """Put a file as an object."""
        with self._told(name):
            self._fs.put_file(str(path), self._at(name))

    def download(self, name: str, path: Path) -> None:
        """Write an object to a new file. Raises FileNotFoundError."""
        with self._told(name):
            self._fs.get_file(self._at(name), str(path))

    def now(self) -> float:
        """Seconds by the clock of the server, that of :attr:`Entry.modified`: tried with an object."""
        name = f".clock/{uuid.uuid4().hex}"
        self.put(name, b"1")
        try:
            return self.listing(".clock/")[name].modified
        finally:
            self.delete(name)

    def check(self) -> None:
        """Raises InputError, one line, where a put cannot be conditional: claims and commits rest on it."""
        name = f".offers.{uuid.uuid4().hex}"
        try:
            self.create(name, b"1")
            try:
                self.create(name, b"2")
            except FileExistsError:
                return
            raise InputError(
                f"{self.url}: puts what is there already (no conditional puts), so that claims would have "
                "two winners; choose another service, or a folder"
            )
        finally:
            with contextlib.suppress(OSError):
                self.delete(name)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # clients raise many kinds, of which few are OSError
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Unreachable(f"{self.url}/{name}: {said}") from error


def _patience(scheme: str) -> dict:
    """Options for a client that would wait for ever; that of S3 gives up after as long by itself."""
    if scheme != "gs":
        return {}
    import aiohttp  # which gcsfs needs

    return {"requests_timeout": aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)}


def _entry(about: dict) -> Entry:
    when = about.get("LastModified") or about.get("mtime") or about.get("updated")
    seconds = when.timestamp() if hasattr(when, "timestamp") else 0.0
    tag = about.get("ETag") or about.get("etag") or about.get("generation") or ""
    return Entry(int(about.get("size") or 0), str(tag), seconds)
