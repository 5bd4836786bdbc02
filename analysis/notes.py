"""A remark with a code: what a result must say beside its numbers."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Note:
    """One remark. `code` is stable and meant for programs, `text` is one sentence for people."""

    code: str
    text: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True)
class Excluded:
    """A row of the table that was not fitted. `row` counts the table's data rows from 0, as pandas does."""

    row: int
    reason: str

    def to_dict(self) -> dict[str, int | str]:
        return asdict(self)
