"""Every `lab` command that README and docs show is one that the program takes: its verb, and each option."""

import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from benchmarks import notebooks
from lab import completion
from lab.__main__ import EVERYWHERE, VERBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(notebooks.FOLDER.glob("*.py"))]
LAUNCHERS = sorted((ROOT / "sweeps" / "examples").glob("*.sh"))
PLACES = {name: entry[0] for group in VERBS.values() for name, entry in group.items()}
OURS = re.compile(r"^(?:\$ )?(?:[\w.]*/bin/)?lab +([a-z]+)\b(.*)$")


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """(verb, words after it) of the fenced lines, those that go on joined, and of `lab ...` in the text."""
    text = notebooks.page(notebooks.read(page), page.stem)[0] if page.suffix == ".py" else page.read_text()
    if page.suffix == ".sh":
        text = f"```\n{text}```\n"
    blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(span.split()) for span in re.findall(r"`(lab [^`]+)`", prose)]
    found = []
    for line in lines:
        match = OURS.match(line)
        if match:
            words = shlex.split(match[2], comments=True)
            cut = next((i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "=")), len(words))
            found.append((match[1], words[:cut]))
    return found


@cache
def known(verb: str) -> set[str]:
    """Options of a verb and, where its help lists others, of what stands below it."""
    found = {*completion.options(PLACES[verb]), *EVERYWHERE, "--help"}
    return found | {f"--no-{name[2:]}" for name in found}


SHOWN = [(page, *one) for page in [*PAGES, *LAUNCHERS] for one in commands(page)]


def test_there_are_many():
    assert len(SHOWN) > 100
    assert len({verb for _, verb, _ in SHOWN}) > 20


@pytest.mark.parametrize("verb", sorted({verb for _, verb, _ in SHOWN}))
def test_commands_of_a_verb_are_taken(verb):
    wrong = []
    for page, name, words in SHOWN:
        if name != verb:
            continue
        where = f"{page.relative_to(ROOT)}: lab {verb} {' '.join(words)}"
        if verb not in PLACES:
            wrong.append(f"{where}: no such verb")
            continue
        used = {word.split("=")[0].replace("_", "-") for word in words if re.match(r"--[a-z]", word)}
        if missing := used - known(verb):
            wrong.append(f"{where}: no {', '.join(sorted(missing))}")
    assert wrong == []


@pytest.mark.parametrize("script", LAUNCHERS, ids=lambda path: path.stem)
def test_a_launcher_is_a_script_that_says_how_it_is_called(script, tmp_path):
    """With a `lab` that only writes down what it was asked; called bare, it names its arguments."""
    bare = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert bare.returncode != 0
    assert f"usage: {script.name}" in bare.stderr
    stand_in = tmp_path / "lab"
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(script), "a b.toml", "the store", "1/2"], capture_output=True, text=True, env=path
    )
    assert done.returncode == 0, done.stderr
    asked = [line.split()[0] for line in done.stdout.splitlines()]
    assert asked == [verb for verb, _ in commands(script) if verb not in ("merge",)][-len(asked) :]
    assert "the store" in done.stdout or script.stem == "tpu_slice"
