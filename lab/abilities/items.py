"""Items of an ability: what a task draws, and the test set a model is scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Items:
    """N items as symbol ids: a prompt of P symbols and its one right answer of A symbols."""

    prompts_NxP: np.ndarray  # uint8
    answers_NxA: np.ndarray  # uint8
    difficulty_N: np.ndarray  # int64; what it measures is said by the task
    cluster_N: np.ndarray  # int64; items with one number share what makes them easy or hard

    def __len__(self) -> int:
        return len(self.prompts_NxP)

    def pick(self, chosen: np.ndarray) -> Items:
        """The chosen items (a mask or indices)."""
        return Items(
            self.prompts_NxP[chosen],
            self.answers_NxA[chosen],
            self.difficulty_N[chosen],
            self.cluster_N[chosen],
        )


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
    cluster_N: np.ndarray  # int64
    answer_length: int  # symbols, without <end>
    chance: dict[str, float | None]  # by metric: the best a model can do that does not read the prompt
    end: int  # id of <end>

    @property
    def answer_NxT(self) -> np.ndarray:
        """True where the target is a symbol of the answer: scored, and not `<end>`."""
        return (self.targets_NxT >= 0) & (self.targets_NxT != self.end)
