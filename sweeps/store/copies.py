"""A copy on this machine of a store at a URL, for all that only reads stores.

It is brought up to date at each command: an object is fetched once, and again where it changed. Checkpoints
stay where they are unless asked for; what was trained, and all that tables and status read, is copied.
"""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

from lab import files
from lab.errors import InputError
from lab.objects import Entry, Objects, url_of
from lab.private import cache_folder
from lab.runs import contents, object_claims
from lab.runs.claims import content_of
from lab.runs.folder import RESULT
from lab.runs.remote import SMALL, unpack

_INDEX = "copied.json"
_KNOWN = re.compile(rf"(?:{'|'.join(map(re.escape, (*SMALL, RESULT)))}|other-[0-9a-f]{{8}}\.json)")
_PACKED = re.compile(r"(checkpoints|final)/(\d{1,15})\.tar")
_LONGEST = 1 << 32


def arguments(verb: str, argv: list[str]) -> list[str]:
    """The arguments of a verb that reads stores, with the folder of a copy for each URL.

    Raises:
        InputError: where the URL is to be written to.
    """
    found = list(argv)
    for at, word in enumerate(argv):
        if url_of(word) is None or "://" not in word:
            continue
        if (at and argv[at - 1] == "--out" and verb != "plan") or (verb == "merge" and at == 0):
            raise InputError(f"{word}: `lab {verb}` writes to a folder; `lab run` and `lab train` take a URL")
        url, run = _parted(word)
        copy = here(Path(url), checkpoints=verb == "merge") / run
        if verb not in ("plan", "merge"):
            print(f"note: reading a copy of {word}, {copy}", file=sys.stderr, flush=True)
        found[at] = str(copy)
    return found


def _parted(word: str) -> tuple[str, str]:
    """The URL of a store, and of a run in it ``runs/<run id>``, as below its folder."""
    found = re.fullmatch(r"(.+?)/(runs/[^/]+)/*", word)
    return (found[1], found[2]) if found and contents.is_name(found[2].removeprefix("runs/")) else (word, "")


def here(place: Path, checkpoints: bool = False) -> Path:
    """The folder of the store; of one at a URL, a copy in this user's cache, brought up to date.

    Args:
        place: a folder or a URL.
        checkpoints: copy also those of runs that have not ended.

    Raises:
        InputError: where no store is at the URL.
    """
    url = url_of(place)
    if url is None:
        return place
    objects = Objects(url)
    root = cache_folder() / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]
    root.mkdir(parents=True, exist_ok=True)
    there = objects.listing()
    if not there:
        raise InputError(f"{url}: no store here")
    before = _index(root)
    claims: dict[str, dict[str, Entry]] = {}
    now: dict[str, str] = {}
    # a result comes last: what it speaks of is here before it
    for name in sorted(there, key=lambda name: (name.endswith(f"/{RESULT}"), name)):
        entry = there[name]
        kind, _, rest = name.partition("/")
        run_id, _, file = rest.partition("/")
        if kind == "claims" and contents.is_name(run_id):
            claims.setdefault(run_id, {})[name] = entry
        packed = _PACKED.fullmatch(file) if kind == "runs" else None
        if packed and (checkpoints or packed[1] == "final") and contents.is_name(run_id):
            to = root / "runs" / run_id / packed[1] / packed[2]
            if before.get(name) != entry.tag or not to.exists():
                shutil.rmtree(to, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    unpack(objects, name, to, root)
        elif (
            name == "store.json"
            or (kind == "runs" and contents.is_name(run_id) and _KNOWN.fullmatch(file))
            or (kind == "studies" and contents.is_name(rest) and rest.endswith((".json", ".toml")))
        ):
            _copy(objects, name, entry, before, root)
        else:
            continue
        now[name] = entry.tag
    for name in before.keys() - now.keys():
        if not _PACKED.search(name):
            (root / name).unlink(missing_ok=True)
    for run_id in {path.parent.name for path in root.glob("runs/*/claim")} - claims.keys():
        (root / "runs" / run_id / "claim").unlink(missing_ok=True)
    for run_id, entries in claims.items():
        _claim(objects, root, run_id, entries)
    files.write_json(root / _INDEX, now, root)
    return root


def _copy(objects: Objects, name: str, entry: Entry, before: dict, root: Path) -> None:
    if before.get(name) != entry.tag or not (root / name).exists():
        with contextlib.suppress(FileNotFoundError):
            files.write_bytes(root / name, objects.get(name, _LONGEST), root)


def _claim(objects: Objects, root: Path, run_id: str, entries: dict[str, Entry]) -> None:
    """As a file whose time is that of the last beat, as far as this machine's clock tells it."""
    held = object_claims.read(objects, run_id, entries)
    if held is not None:
        path = root / "runs" / run_id / "claim"
        files.write_bytes(path, content_of(held), root)
        os.utime(path, (held.modified, min(held.modified, time.time())))


def _index(root: Path) -> dict[str, str]:
    try:
        found = files.read_json(root / _INDEX, root)
    except files.Refused:
        return {}
    return found if isinstance(found, dict) else {}
