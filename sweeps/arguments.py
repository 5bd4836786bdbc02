"""Command-line arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import tyro

StudyFile = Annotated[Path, tyro.conf.Positional]
Json = Annotated[bool, tyro.conf.arg(name="json")]
Sets = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction]
Places = Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
