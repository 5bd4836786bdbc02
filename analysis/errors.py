"""Errors of the user's input: one line each, all of them at once, exit code 2."""


class InputError(ValueError):
    """Bad input. Every problem is one line that names file, column or row and what would be right."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
