"""Where the published tables are: in a folder of the user's, known by name and checksum, or downloaded.

Nothing is shipped, since most sources state no licence. A table is either the source's own files, which can
be downloaded at a pinned commit, or one CSV that was converted from them.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from analysis import files
from analysis.errors import InputError

MIRROR = "https://raw.githubusercontent.com"
# A folder of tables is shallow; one that is not is a mistake, and is not walked to its end.
MOST_FILES = 20_000
SECONDS = 60


@dataclass(frozen=True)
class File:
    """One file: its name, its SHA-256, and its path at the source (empty for converted files)."""

    name: str
    sha256: str
    path: str = ""


@dataclass(frozen=True)
class Variant:
    """Files that together hold a table. what: how they came to be, in words."""

    files: tuple[File, ...]
    what: str


@dataclass(frozen=True)
class Source:
    """A published table. repository and commit: where its own files are; variants: the accepted forms."""

    name: str
    repository: str
    commit: str
    variants: tuple[Variant, ...]

    @property
    def downloadable(self) -> Variant | None:
        return next((one for one in self.variants if all(file.path for file in one.files)), None)


class MissingError(InputError):
    """A published table that is not in the folder."""


@dataclass(frozen=True, eq=False)
class Folder:
    """Files under `path`, by name. path None is a folder without files."""

    path: Path | None

    @cached_property
    def named(self) -> Mapping[str, list[Path]]:
        """base name -> paths. Raises InputError for a folder that is not there or has no end."""
        found: dict[str, list[Path]] = {}
        for index, path in enumerate(self._walk()):
            if index >= MOST_FILES:
                raise InputError(f"{self.path}: more than {MOST_FILES} files; name the folder of the tables")
            found.setdefault(path.name, []).append(path)
        return found

    def _walk(self) -> Iterator[Path]:
        if self.path is None:
            return
        if not self.path.is_dir():
            raise InputError(f"--data: {self.path}: no such folder")
        for parent, _, names in os.walk(self.path):
            yield from (Path(parent) / name for name in names)

    def find(self, source: Source) -> tuple[Variant, dict[str, Path]]:
        """(the variant that is there, its paths by name). Raises MissingError, or InputError where a file has
        the name and not the checksum.
        """
        wrong: list[str] = []
        for variant in source.variants:
            paths = {}
            for file in variant.files:
                for candidate in self.named.get(file.name, ()):
                    try:
                        digest = sha256(candidate)
                    except files.Refused as refused:
                        wrong.append(str(refused))
                        continue
                    if digest == file.sha256:
                        paths[file.name] = candidate
                        break
                    wrong.append(
                        f"{candidate}: not the published file: its SHA-256 is {digest[:12]}..., "
                        f"not {file.sha256[:12]}..."
                    )
            if len(paths) == len(variant.files):
                return variant, paths
        if wrong:
            raise InputError(*dict.fromkeys(wrong))
        forms = " or ".join(_listed(variant) for variant in source.variants)
        where = "no --data folder" if self.path is None else str(self.path)
        hint = (
            "; --download fetches it"
            if source.downloadable
            else "; its source has no file that can be fetched"
        )
        raise MissingError(f"{where}: {source.name} needs {forms}{hint}")


def _listed(variant: Variant) -> str:
    names = [file.name for file in variant.files]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more files"


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with files.opened(path, limit=1 << 40) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(
    source: Source, folder: Path, mirror: str = MIRROR, say: Callable[[str], None] = lambda line: None
) -> None:
    """Fetch the source's own files into folder/<name of the source>, each checked before it is kept.

    Raises InputError when the source has no such files, when one cannot be fetched, or has another checksum.
    """
    variant = source.downloadable
    if variant is None:
        raise InputError(f"{source.name}: its source has no file that can be fetched; put it in --data")
    target = folder / source.name
    for file in variant.files:
        place = target / file.name
        if place.is_file() and not place.is_symlink() and sha256(place) == file.sha256:
            continue
        url = f"{mirror}/{source.repository}/{source.commit}/{urllib.parse.quote(file.path)}"
        say(f"fetching {url}")
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                content = answer.read()
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise InputError(f"{url}: cannot be fetched: {reason}") from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise InputError(f"{url}: wrong checksum: SHA-256 {digest[:12]}..., not {file.sha256[:12]}...")
        files.write_bytes(place, content, folder)
