"""Names, failures and generated text of somebody else cannot steer the terminal they are printed on."""

import io
import json
import re
import sys

import pytest

from lab import terminal
from lab.__main__ import main
from sweeps.work.display import Display

CODES = "\x1b]0;title\x07\x1b[2J\x9b31m\x08\rover\x7f\u202eback"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def test_every_control_code_is_shown_and_text_stays():
    every = "".join(map(chr, range(0x2100)))
    found = terminal.escaped(every)
    assert not STEERING.search(found)
    assert "\n" in found
    assert "\t" in found
    assert json.loads(f'"{terminal.escaped(CODES)}"') == CODES, "as JSON reads it, it is the same text"
    plain = "Zürich, 東京, naïve \U0001f600\n\tα ≤ β"
    assert terminal.escaped(plain) == plain


@pytest.mark.parametrize("words", [["fit"], ["fit", "--json"], ["audit"], ["thresholds"], ["isoflop"]])
def test_cells_and_names_of_a_table(tmp_path, capsys, words):
    """Before: columns, studies and tasks were printed with the codes they hold, in errors too."""
    table = tmp_path / "runs.json"
    rows = [{f"study{CODES}": f"a{CODES}", "task": CODES, "params": CODES, "loss": n} for n in range(3)]
    table.write_text(json.dumps(rows))
    assert main([words[0], str(table), *words[1:]]) == 2
    out, err = capsys.readouterr()
    assert err
    assert not STEERING.search(out + err), repr(out + err)


def test_keys_of_a_study(tmp_path, capsys):
    """Before: an unknown key was repeated as it stands."""
    study = tmp_path / "study.toml"
    key = json.dumps(f"tokens{CODES}").replace("\\u007f", "\x7f").replace("\x7f", "\\u007f")
    study.write_text(f"name = {key}\n{key} = 1\n")
    assert main(["plan", str(study)]) == 2
    out, err = capsys.readouterr()
    assert "\\u001b]0;title" in err, err
    assert not STEERING.search(out + err), repr(err)


def test_the_name_of_a_file_that_is_not_utf8_is_no_traceback(tmp_path, capsys):
    """Before: UnicodeEncodeError where the error line names it on stdout."""
    assert main(["fit", f"{tmp_path}/\udcff\x1b[2J.csv"]) == 2
    assert not STEERING.search("".join(capsys.readouterr()))


def test_the_live_panel_shows_names_as_they_are(monkeypatch):
    """Before: codes went through, and a grid named `[/x]` ended `lab run` by an error of rich's markup."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys, "stderr", terminal.Screen(Terminal()))

    class Nothing:
        cells, trunks = (), ()

    with Display(Nothing(), None) as display:
        display.running = {0: ("id", "step 1")}
        display.labels = {"id": f"[/x] {CODES}"}
        display({"kind": "note", "text": f"[/x] {CODES}"})
        display.live.refresh()
    shown = sys.stderr.unescaped.getvalue()
    assert "\\u001b]0;title" in shown
    assert "\x1b]0;" not in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown
    assert shown.count("[/x]") >= 2
    assert "\x1b[" in shown, "rich's own codes move the panel"


def test_the_line_that_is_written_over_keeps_its_own_codes():
    from analysis.text import line_again

    screen = terminal.Screen(io.StringIO())
    line_again(screen, f"1/2 {CODES}")
    assert screen.unescaped.getvalue() == "\r\x1b[K1/2 " + terminal.escaped(CODES)


LONG = (
    "a law leads because, fitted to runs of less compute, it foretold the later ones within 0.59 % on average"
)


class Tty(io.StringIO):
    def isatty(self):
        return True


def test_a_long_sentence_is_folded_at_words_below_its_own_text(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    screen = terminal.Screen(Tty())
    print(f"  {LONG}\n  warning   one_code: {LONG}", file=screen)
    lines = screen.unescaped.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert [len(line) - len(line.lstrip()) for line in lines] == [2, 4, 2, 12, 12]
    assert " ".join(" ".join(lines).split()) == f"{LONG} warning one_code: {LONG}"


def test_what_is_copied_stays_whole_and_what_is_piped_too(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    command = (
        "lab fit runs/quickstart --columns params=N,tokens=D,loss=final --where grid=language --out law.json"
    )
    whole = [
        f"  {command}",
        f"  in Python: import analysis as sl; sl.figure('runs/quickstart', 'law_contour').save('{'x' * 60}')",
        f'{{"text": "{LONG}"}}',
        "  run              params     tokens      flops  predicted              90 %  measured    error",
        "x" * 100,
    ]
    for line in whole:
        assert terminal.folded(line, 60).splitlines()[-1].strip() in (line.strip(), line.strip()[11:]), line
    said = terminal.folded(f"{LONG}, as `{command}` says; again with: {command} --draws 9", 60).splitlines()
    assert f"`{command}`" in [line.strip() for line in said]
    assert said[-1].strip() == f"{command} --draws 9"
    piped = terminal.Screen(io.StringIO())
    print(LONG, file=piped)
    assert piped.unescaped.getvalue() == LONG + "\n"
