"""Words of a small made-up language with their letters mixed or turned round."""

from __future__ import annotations

from functools import cache

import numpy as np

from lab.abilities.items import ALPHABET, Items, Task, hashes
from lab.draws import Draws

WORDS = 512
LENGTH = 6
_VOWELS = [ALPHABET.index(c) for c in "aeiou"]
_CONSONANTS = [ALPHABET.index(c) for c in "bcdfghjklmnpqrstv"]


@cache
def lexicon() -> np.ndarray:
    """(WORDS, LENGTH) uint8: consonant and vowel in turn, no letter twice, no two words of the same "
    "letters."""
    draws = Draws("lexicon")
    words: dict[tuple[int, ...], np.ndarray] = {}
    while len(words) < WORDS:
        vowels = np.array(_VOWELS)[draws.permutations(1, len(_VOWELS))[0, :3]]
        consonants = np.array(_CONSONANTS)[draws.permutations(1, len(_CONSONANTS))[0, :3]]
        word = np.stack([consonants, vowels], axis=1).reshape(-1).astype("uint8")
        words.setdefault(tuple(sorted(word.tolist())), word)
    return np.array(list(words.values()))


def draw_unscramble(draws: Draws, count: int) -> Items:
    """The letters of a word in any order; the answer is the word."""
    words = lexicon()[draws.below(WORDS, count)]
    order = draws.permutations(count, LENGTH)
    prompts = np.take_along_axis(words, order, axis=1)
    moved = (order != np.arange(LENGTH)).sum(axis=1)
    return Items(prompts, words, moved, hashes(prompts), {"moved": moved})


def draw_cycle(draws: Draws, count: int) -> Items:
    """The word turned by 1 to 5 letters; the answer is the word."""
    words = lexicon()[draws.below(WORDS, count)]
    turn = 1 + draws.below(LENGTH - 1, count)
    places = (np.arange(LENGTH) + turn[:, None]) % LENGTH
    prompts = np.take_along_axis(words, places, axis=1)
    return Items(prompts, words, turn, hashes(prompts), {"turn": turn})


def _place_chance() -> float:
    return float(np.mean([np.bincount(column).max() / WORDS for column in lexicon().T]))


_SHARED = {
    "prompt_length": LENGTH,
    "answer_length": LENGTH,
    "exact_match_chance": 1 / WORDS,
    "token_accuracy_chance": _place_chance(),
}

UNSCRAMBLE = Task(
    name="unscramble",
    tag="u",
    instruction="unscramble",
    draw=draw_unscramble,
    test_share=1 / 8,
    planted="floor-limited until the lexicon is known: letters come right long before words do",
    difficulty="letters that moved",
    source="Brown et al. 2020 (2005.14165), section 3.9.2",
    **_SHARED,
)

CYCLE = Task(
    name="cycle",
    tag="o",
    instruction="turn",
    draw=draw_cycle,
    test_share=1 / 4,
    planted=(
        "floor-limited until the start of a word can be found; easier than unscrambling, since order is kept"
    ),
    difficulty="letters the word was turned by",
    source="Brown et al. 2020 (2005.14165), section 3.9.2",
    **_SHARED,
)
