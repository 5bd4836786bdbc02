"""Docstrings out of code, and the cache that keeps them."""

import numpy as np
import pytest

from lab.data import DataConfig, load, packages
from lab.data import cache as caches
from lab.data.corpus import collect
from lab.data.packages import docstrings

CODE = b'''
"""Of the module."""
X = "no docstring"
"""An attribute's, which nothing holds."""
class A:
    """Of A.

    Text
        indented.
    """
    if X:
        def f(self):
            "Of f."
    else:
        async def g(self):
            r"""Of g \\n."""
            def inner():
                """Of inner."""
try:
    pass
except ImportError:
    def h(): """Of h."""
finally:
    def k(): "Of k."
match X:
    case 1:
        def m(): "Of m."
f = lambda: "Of no lambda."
def none():
    f"""Not a constant {X}."""
'''


def test_docstrings_of_every_definition_at_any_depth():
    found = set(docstrings(CODE))
    expected = {
        "Of the module.",
        "Of A.\n\nText\n    indented.",
        "Of f.",
        "Of g \\n.",
        "Of inner.",
        "Of h.",
        "Of k.",
        "Of m.",
    }
    assert found == expected


def test_code_that_does_not_parse_has_no_docstrings():
    assert list(docstrings(b'"""x"""\ndef')) == list(docstrings(b"\x00")) == []


def corpus():
    return collect((f"g{n % 3}", f"text {n}".encode()) for n in range(20))


def same(one, two):
    return one.digest == two.digest and (one.read, one.duplicates) == (two.read, two.duplicates)


def test_a_damaged_cache_file_is_built_again(tmp_path):
    path = caches.path_of(tmp_path / "new", "name", {"python": "3"})
    built = []

    def build():
        built.append(1)
        return corpus()

    assert same(caches.cached(path, build), corpus())
    assert same(caches.cached(path, build), corpus())
    assert len(built) == 1
    whole = path.read_bytes()
    text = whole.index(corpus().text.tobytes())
    flipped = bytearray(whole)
    flipped[text] ^= 1
    for damaged in (whole[:-100], b"", b"junk", bytes(flipped)):
        path.write_bytes(damaged)
        built.clear()
        assert same(caches.cached(path, build), corpus())
        assert len(built) == 1
        assert same(caches._read(path), corpus())
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no temporary file is left


def test_a_file_of_another_corpus_is_told_by_its_digest(tmp_path):
    """Damage that the container does not see: the arrays are whole but not those that were written."""
    path = tmp_path / "a.npz"
    caches._write(path, corpus())
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["text"] = arrays["text"][::-1]
    np.savez(path, **arrays)
    assert caches._read(path) is None


def test_without_a_writable_folder_the_corpus_is_built(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert same(caches.cached(tmp_path / "file" / "a.npz", corpus), corpus())


def test_other_versions_are_another_file(tmp_path):
    paths = {caches.path_of(tmp_path, "a", {"python": v}) for v in ("3.11.1", "3.11.2")}
    assert len(paths) == 2


@pytest.mark.slow
def test_python_docs_is_nine_million_bytes_of_english(tmp_path):
    seen = []
    dataset = load(DataConfig(), tmp_path, lambda done, total, what: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 1000
    facts = dataset.facts
    assert facts["bytes"] > 9e6
    assert facts["near_duplicates_dropped"] > 500
    assert 0.045 < facts["validation_bytes"] / facts["bytes"] <= 0.05
    assert dataset.unique_tokens > 8.5e6
    assert dataset.validation().inputs_WxT.shape == (512, 128)
    letters = np.bincount(dataset.rows.tokens, minlength=258) / len(dataset.rows.tokens)
    assert 0.05 < letters[ord("e")] < 0.12
    assert letters[128:256].sum() < 0.01
    assert load(DataConfig(), tmp_path, lambda *_: pytest.fail("was not cached")).digest == dataset.digest


def test_a_link_that_leads_to_no_file_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text('"""Of a."""')
    (tmp_path / "sitecustomize.py").symlink_to(tmp_path / "gone.py")
    monkeypatch.setattr(packages, "LIBRARIES", ())
    monkeypatch.setattr(packages.sysconfig, "get_path", lambda name: str(tmp_path))
    assert [name for name, _ in packages._documents("python-code", None)] == ["python/a.py"]
