"""The needle's grid: what is hidden where, what is asked, and what it is worth to be told."""

from dataclasses import dataclass

import numpy as np
import pytest

from lab.abilities.sets import TOKENIZER
from lab.config import ModelConfig, RunConfig
from lab.data import DataConfig
from lab.errors import InputError
from lab.evaluation import needle
from lab.tokenizers import ByteTokenizer, IdTokenizer
from lab.verbs.needle import _draw


@dataclass(frozen=True)
class Text:
    """As much of a data set of text as the needle needs."""

    tokenizer: object = ByteTokenizer()
    vocab_size: int = 258
    context: int = 96


HAY = ByteTokenizer().encode("sphinx of black quartz, judge my vow. " * 20)


@pytest.mark.parametrize("depth", [0, 50, 100])
def test_the_sentence_stands_at_its_depth_and_only_its_digits_are_scored(depth):
    inputs, targets = needle.rows(Text(), HAY, 96, depth, 5, True)
    assert inputs.shape == targets.shape == (5, 95)
    for row, scored in zip(inputs, targets, strict=True):
        said = ByteTokenizer().decode(row[1:])
        answer = ByteTokenizer().decode(scored[scored >= 0])
        question = said[said.rindex(" The code of") :]
        name = question.split()[3]
        assert f" The code of {name} is{answer}." in said
        assert answer.strip().isdigit()
        assert (np.flatnonzero(scored >= 0) == np.arange(95 - len(answer), 95)).all()
        hay = len(said) - len(question) - len(f" The code of {name} is{answer}.")
        assert said.index(" The code of") == pytest.approx(hay * depth / 100, abs=1)


def test_without_the_needle_the_same_is_asked_of_the_same_length():
    told, asked = (needle.rows(Text(), HAY, 96, 50, 5, put) for put in (True, False))
    assert (told[1] == asked[1]).all()
    assert told[0].shape == asked[0].shape
    for row in asked[0]:
        assert ByteTokenizer().decode(row).count("The code of") == 1


def test_a_context_too_short_and_ids_without_text_are_refused():
    with pytest.raises(InputError, match="holds no needle; take at least"):
        needle.rows(Text(), HAY, 40, 50, 1, True)
    config = RunConfig(10_000, ModelConfig(width=16, layers=1, heads=1), data=DataConfig(source="synthetic"))
    with pytest.raises(InputError, match="ids and no text"):
        needle.grid({}, config, Text(tokenizer=IdTokenizer(50)), (96,), (0,), 1)


def test_a_reader_who_looks_back_gets_all_of_it_right(monkeypatch):
    """Counted by a stand-in for the model that reads the answer where it was said, and else guesses."""

    def score(params, config, vocab, inputs, targets):
        scored = targets >= 0
        right = np.zeros(targets.shape, bool)
        for i, row in enumerate(inputs):
            right[i] = scored[i] & (ByteTokenizer().decode(row).count("The code of") == 2)
        return np.where(scored, np.where(right, 0.1, 2.3), 0.0), right, None

    monkeypatch.setattr(needle.evaluate, "score", score)
    monkeypatch.setattr(needle, "_hay", lambda dataset: HAY)
    cells = needle.grid({}, None, Text(), (90, 96), (0, 100), 4)
    assert [(c.context, c.depth, c.right, c.items) for c in cells] == [
        (90, 0, 4, 4),
        (90, 100, 4, 4),
        (96, 0, 4, 4),
        (96, 100, 4, 4),
    ]
    assert all(c.nats == pytest.approx(0.1) and c.nats_without == pytest.approx(2.3) for c in cells)


def test_a_model_of_symbols_is_asked_the_task_itself(monkeypatch):
    def score(params, config, vocab, inputs, targets, first, rounding):
        return np.where(targets >= 0, 1.5, 0.0), np.ones(targets.shape, bool), np.zeros((len(inputs), vocab))

    monkeypatch.setattr(needle.evaluate, "score", score)
    symbols = Text(TOKENIZER, TOKENIZER.vocab_size, 19)
    cells = needle.grid({}, None, symbols, (16,), (), 6)
    assert [cell.depth for cell in cells] == [0, 25, 50, 75, 100]
    assert all(cell.context == 16 and cell.right == cell.items > 0 for cell in cells)
    assert {cell.nats_without for cell in cells} == {None}


def test_its_picture_is_drawn_from_the_cells_alone(tmp_path):
    cells = [needle.Cell(c, d, 4, 2, 1.0, 1.5) for c in (64, 128) for d in (0, 100)]
    for name in ("a.svg", "b.svg"):
        _draw(cells, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
