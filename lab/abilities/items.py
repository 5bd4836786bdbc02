"""Items of an ability: what a task draws, and the test set a model is scored on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lab.draws import Draws

# Ids 0 to 31 are the 32 symbols of the tasks, so that a digit is its own value; then the two marks.
ALPHABET = "0123456789abcdefghijklmnopqrstuv=+"
SYMBOLS = 32
EQUALS = ALPHABET.index("=")
PLUS = ALPHABET.index("+")
END = len(ALPHABET) + 1  # ends an example inside a prompt, as it ends a row; `<start>` has the id before
PAD = 255  # no symbol: a shorter prompt or answer is filled up with it, and rows close the gap


@dataclass(frozen=True)
class Items:
    """N items as symbol ids: a prompt of up to P symbols and its one right answer of up to A symbols."""

    prompts_NxP: np.ndarray  # uint8
    answers_NxA: np.ndarray  # uint8
    difficulty_N: np.ndarray  # int64; what it measures is said by the task
    # uint64; items of one identity give each other away, so the split keeps them together
    identity_N: np.ndarray
    # name -> int64 (N,): length, depth, ...; `source` is the place in the prompt of the answer's first symbol
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts_NxP)

    def pick(self, chosen: np.ndarray) -> Items:
        """The chosen items (a mask, indices or a slice)."""
        return Items(
            self.prompts_NxP[chosen],
            self.answers_NxA[chosen],
            self.difficulty_N[chosen],
            self.identity_N[chosen],
            {name: values[chosen] for name, values in self.factors.items()},
        )


@dataclass(frozen=True)
class Task:
    """One ability. A row is `<start> tag prompt = answer <end>`, and only the answer and `<end>` are scored.

    `draw(draws, n)` gives n items, prompts and answers of at most the stated lengths, from the random stream
    alone.
    """

    name: str
    tag: str  # the symbols that tell a mixture's tasks apart: one, or the words of an instruction
    prompt_length: int
    answer_length: int
    draw: Callable[[Draws, int], Items]
    exact_match_chance: float  # best rate of one answer given to every prompt
    token_accuracy_chance: float  # best rate of one symbol a place, averaged over the places of the answer
    test_share: float  # of all identities, held out for the test set
    planted: str  # what is in it, and what a detector should therefore find
    difficulty: str  # what `Items.difficulty_N` measures
    source: str  # publication
    answer_entropy: float = 0.0  # nats of the answer given the prompt
    # words in the symbols of the alphabet that stand for the tag in the instruction form
    instruction: str = ""
    choices: tuple[int, ...] = ()  # the symbols an answer of one symbol is chosen from
    scratch_length: int = 0  # symbols of the answer that are working, up to and with its last `=`
    given: tuple[int, ...] = ()  # places of the answer that are read, not asked for
    draw_test: Callable[[Draws, int], Items] | None = None  # where the test asks for something else
    # of a control: metric -> verdicts that are right
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    stream: str = ""  # name of the stream of test items, the task's own unless forms of it share one

    @property
    def row_length(self) -> int:
        """Tokens of a row as the model reads it: <start>, tag, prompt, =, answer."""
        return self.prompt_length + self.answer_length + len(self.tag) + 2

    @property
    def chance(self) -> dict[str, float | None]:
        """Chance level by metric: the best that can be done without reading the prompt."""
        levels = {
            "exact_match": self.exact_match_chance,
            "token_accuracy": self.token_accuracy_chance,
            "gold_nats": None,
        }
        if self.choices:
            levels |= {"choice_accuracy": self.exact_match_chance, "choice_nats": None}
        return levels


@dataclass(frozen=True)
class AbilitySet:
    """The test set of one ability: N items, one a row of T tokens, none of them ever trained on.

    Targets are -1 outside the answer and its `<end>`. An item has exactly one right answer, so the
    teacher-forced argmax being right at every scored position is the same as greedy decoding giving the
    answer: up to the first wrong position both have seen the same tokens. One forward pass therefore scores
    all three metrics:

    - exact_match: every scored position right, `<end>` included;
    - token_accuracy: share of answer symbols right, `<end>` not counted (`answer_NxT`);
    - gold_nats: mean negative log-probability of the answer symbols, `<end>` not counted.
    """

    task: str
    inputs_NxT: np.ndarray  # int32
    targets_NxT: np.ndarray  # int32
    difficulty_N: np.ndarray  # int64
    cluster_N: np.ndarray  # int64; items of one cluster are no independent evidence
    answer_length: int  # symbols, without <end>
    chance: dict[str, float | None]  # by metric
    end: int  # id of <end>
    choices: tuple[int, ...] = ()  # token ids an answer of one symbol is chosen from
    scratch_length: int = 0  # leading symbols of the answer that are working
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def answer_NxT(self) -> np.ndarray:
        """True where the target is a symbol of the answer: scored, and not `<end>`."""
        return (self.targets_NxT >= 0) & (self.targets_NxT != self.end)


def hashes(columns_NxC: np.ndarray) -> np.ndarray:
    """64-bit hash of each row of symbol ids, uint64 of shape (N,). The mixing step is splitmix64's."""
    state = np.full(len(columns_NxC), 0x9E3779B97F4A7C15, np.uint64)
    for column in np.asarray(columns_NxC, np.uint64).T:
        state = _mix(state ^ (column + np.uint64(1)))
    return state


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) + np.uint64(0x9E3779B97F4A7C15)


def in_test(identity_N: np.ndarray, share: float) -> np.ndarray:
    """Which identities are held out: a function of the identity alone, so train and test never meet."""
    return identity_N < np.uint64(share * 2.0**64)


def repeats(symbols_NxP: np.ndarray) -> np.ndarray:
    """How many symbols of each row occurred before in it, int64 of shape (N,)."""
    ordered = np.sort(symbols_NxP, axis=1)
    return (ordered[:, 1:] == ordered[:, :-1]).sum(axis=1)
