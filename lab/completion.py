"""`lab completion`: what a shell completes after `lab`, as a script for bash, zsh or fish.

The options of each verb are read once from its own help, and stand in the script: a shell that asked Python
at every key would make people wait.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

SHELLS = ("bash", "zsh", "fish")
_WHERE = {
    "bash": "lab completion bash > ~/.local/share/bash-completion/completions/lab",
    "zsh": 'lab completion zsh > "${fpath[1]}/_lab"',
    "fish": "lab completion fish > ~/.config/fish/completions/lab.fish",
}


def completion(argv: list[str]) -> int:
    """`lab completion bash|zsh|fish`"""
    from lab.__main__ import EVERYWHERE, VERBS

    if argv in (["-h"], ["--help"]) or len(argv) != 1 or argv[0] not in SHELLS:
        stream = sys.stdout if argv in (["-h"], ["--help"]) else sys.stderr
        said = "\n".join(f"  {line}" for line in _WHERE.values())
        shells = "|".join(SHELLS)
        print(f"usage: lab completion {shells}     once; each new shell then completes\n{said}", file=stream)
        raise SystemExit(0 if stream is sys.stdout else 2)  # as the other verbs' help and wrong options end
    verbs = {name: entry for group in VERBS.values() for name, entry in group.items()}
    said = {name: entry[1] for name, entry in verbs.items()}
    found = {name: [*options(entry[0]), *EVERYWHERE] for name, entry in verbs.items() if name != "completion"}
    found["completion"] = list(SHELLS)
    print(script(argv[0], said, found))
    return 0


def options(place: str) -> list[str]:
    """The long options of the verb at `module:function`, in the order of its help."""
    module, function = place.split(":")
    return _read(getattr(import_module(module), function))


def _read(verb: Callable[[list[str]], int]) -> list[str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        verb(["--help"])
    found = re.findall(r"(?<![\w-])--[a-z](?:[\w.-]*\w)?", re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()))
    return [name for name in dict.fromkeys(found) if not name.startswith(("--tyro", "--help"))]


def script(shell: str, said: Mapping[str, str], found: Mapping[str, list[str]]) -> str:
    """said: verb -> what it does; found: verb -> its words. Where none fits, files are completed."""
    if shell == "fish":
        lines = ["complete -c lab -n __fish_use_subcommand -f"]
        for verb, words in found.items():
            text = said[verb].replace("'", "")
            lines.append(f"complete -c lab -n __fish_use_subcommand -a {verb} -d '{text}'")
            for word in words:
                kind = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
                lines.append(f"complete -c lab -n '__fish_seen_subcommand_from {verb}' {kind}")
        return "\n".join(lines)
    name = "words" if shell == "bash" else "offered"  # zsh keeps the line itself in `words`
    cases = "\n".join(f"    {verb}) {name}='{' '.join(words)}' ;;" for verb, words in found.items())
    if shell == "bash":
        return _BASH.format(verbs=" ".join(found), cases=cases)
    listed = "\n".join(f"    '{verb}:{said[verb].replace(chr(39), '').replace(':', ' -')}'" for verb in found)
    return _ZSH.format(listed=listed, cases=cases)


_BASH = """# bash completion of lab
_lab() {{
  local now="${{COMP_WORDS[COMP_CWORD]}}" words=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{verbs}' -- "$now"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  case "$now" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$now")) ;;
    *) [ "${{COMP_WORDS[1]}}" = completion ] && COMPREPLY=($(compgen -W "$words" -- "$now")) ;;
  esac
}}
complete -o default -o bashdefault -F _lab lab"""
_ZSH = """#compdef lab
_lab() {{
  local -a verbs
  local offered=''
  verbs=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case "$words[2]" in
{cases}
  esac
  if [[ "$PREFIX" == -* || "$words[2]" == completion ]]; then
    compadd -- ${{=offered}}
  else
    _files
  fi
}}
_lab "$@\""""
