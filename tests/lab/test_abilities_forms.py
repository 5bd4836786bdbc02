"""Names of tasks and their forms, and mixtures with a text."""

import numpy as np
import pytest

from lab.abilities import TASKS, find, problem_of
from lab.abilities.items import ALPHABET, END, PAD
from lab.abilities.sets import TOKENIZER, ability_set, lay_out, test_items, training_items
from lab.data import DataConfig, load
from lab.draws import Draws
from lab.errors import InputError

test_items.__test__ = False
MARKS = ALPHABET + "<>"


def texts(symbols):
    return ["".join(MARKS[s] for s in row if s != PAD) for row in symbols]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("addition-5", lambda a, b: f"{a + b:06d}"[::-1]),
        ("addition/plain", lambda a, b: f"{a + b:04d}"),
        ("multiplication-3", lambda a, b: f"{a * b:06d}"[::-1]),
    ],
)
def test_a_number_after_the_name_sets_the_digits(name, answer):
    task = find(name)
    items = task.draw(Draws("forms"), 200)
    assert task.name == name
    for prompt, found in zip(texts(items.prompts_NxP), texts(items.answers_NxA), strict=True):
        assert found == answer(*map(int, prompt.split("+")))


def test_the_working_of_a_sum_is_digit_and_carry_of_each_place():
    task = find("addition/scratchpad")
    items = task.draw(Draws("forms"), 300)
    for prompt, found in zip(texts(items.prompts_NxP), texts(items.answers_NxA), strict=True):
        first, second = prompt.split("+")
        carry, working = 0, ""
        for a, b in zip(reversed(first), reversed(second), strict=True):
            carry, digit = divmod(int(a) + int(b) + carry, 10)
            working += f"{digit}{carry}"
        assert found == f"{working}={int(first) + int(second):04d}"
        assert found.index("=") + 1 == task.scratch_length


@pytest.mark.parametrize("name", ["addition/plain", "addition/scratchpad", "copy/instruction", "copy/3-shot"])
def test_a_form_shares_the_test_items_of_its_task(name):
    base = find(name.split("/")[0])
    plain, formed = (test_items(task, 300) for task in (base, find(name)))
    length = base.prompt_length
    np.testing.assert_array_equal(formed.prompts_NxP[:, -length:], plain.prompts_NxP)
    np.testing.assert_array_equal(formed.identity_N, plain.identity_N)


def test_chance_of_the_forms_is_that_of_constant_answers():
    for name in ("addition/scratchpad", "addition-2", "multiplication-3", "modular-7", "biographies-40"):
        task = find(name)
        answers = task.draw(Draws("chance"), 60_000).answers_NxA
        places = [np.bincount(column).max() / len(answers) for column in answers.T]
        assert np.mean(places) == pytest.approx(task.token_accuracy_chance, abs=0.01)


@pytest.mark.parametrize(
    "name", ["copy-20", "recall-12", "needle-32", "dyck-30", "induction-8", "regression-3"]
)
def test_lengths_can_be_chosen_and_rows_fit_what_the_task_states(name):
    task = find(name)
    items = task.draw(Draws("lengths"), 200)
    inputs, targets = lay_out(task, items, task.row_length)
    assert ((targets >= 0).sum(axis=1) == task.answer_length + 1).all()
    assert (inputs[:, 0] == TOKENIZER.start).all()


def test_examples_are_solved_training_items_and_the_question_comes_last():
    task, base = find("addition/3-shot"), TASKS["addition"]
    tested = set(texts(test_items(base, 1000).prompts_NxP))
    for prompt in texts(test_items(task, 200).prompts_NxP):
        *examples, question = prompt.split(">")
        assert question in tested
        assert len(examples) == len(set(examples)) == 3
        for example in examples:
            asked, answer = example.split("=")
            assert asked not in tested
            assert int(answer[::-1]) == sum(map(int, asked.split("+")))
    trained = training_items(task, Draws("train"), 2000)
    assert not tested & {prompt.rpartition(">")[2] for prompt in texts(trained.prompts_NxP)}


def test_short_prompts_leave_no_gap_in_a_row():
    task = find("needle-32/2-shot")
    items = test_items(task, 50)
    inputs, targets = lay_out(task, items, task.row_length)
    for row, wanted, prompt in zip(inputs, targets, texts(items.prompts_NxP), strict=True):
        scored = np.flatnonzero(wanted >= 0)
        written = "".join(MARKS[s] for s in row[: scored[0] + 1])
        assert written == f"<l{prompt}="
        assert wanted[scored[1]] == END


def test_the_needle_lies_where_its_factors_say():
    task = find("needle")
    items = task.draw(Draws("needle"), 500)
    for prompt, length, depth, source in zip(
        texts(items.prompts_NxP), *(items.factors[k] for k in ("length", "depth", "source")), strict=True
    ):
        assert len(prompt) == length
        assert prompt.count("+") == 1
        assert source == prompt.index("+") + 1
        assert (length - 2) * depth // 100 == source - 1
    assert set(items.factors["length"].tolist()) == {16, 32, 64}
    assert set(items.factors["depth"].tolist()) == {0, 25, 50, 75, 100}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("adition", "did you mean addition"),
        ("addition-9", "digits: 1 to 6"),
        ("sort-9", "unknown"),
        ("copy/plain", "no form 'plain'"),
        ("addition/plain/scratchpad", "no form 'scratchpad'"),
        ("copy/0-shot", "no form '0-shot'"),
        ("copy/2-shot/2-shot", "no form '2-shot'"),
        ("needle-30", "multiple of 4"),
    ],
)
def test_names_that_are_none_are_told(name, told):
    assert told in problem_of(name)
    with pytest.raises(InputError):
        DataConfig(source="abilities", tasks={name: 1.0})


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "t.jsonl"
    words = Draws("words")
    lines = [" ".join(f"word{n}" for n in words.below(50, 40)) for _ in range(400)]
    path.write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    return path


def test_a_text_is_mixed_with_tasks_at_its_rate(text):
    config = DataConfig(source=str(text), context=64, tasks={"text": 3, "copy": 1}, val_windows=200)
    data = load(config)
    inputs, targets = data.batches(0, 1, 4000)
    whole = (targets[0] >= 0).all(axis=1)  # windows of text are scored everywhere
    assert whole.mean() == pytest.approx(3 / 4, abs=0.03)
    row = inputs[0][~whole][0]
    written = data.tokenizer.decode(row)
    assert written[0] == "c"
    assert written[1:13] == written[14:26]
    held = data.validation()
    assert (held.targets_WxT >= 0).all(axis=1).mean() == pytest.approx(3 / 4, abs=0.05)
    assert len(data.text_validation.bytes_W) > 10
    assert data.entropy_rate is None
    test = data.ability_sets()["copy"]
    assert test.end == data.tokenizer.end
    assert data.digest != load(DataConfig(source=str(text), context=64)).digest


def test_windows_of_text_do_not_repeat_within_an_epoch_of_rows(text):
    data = load(DataConfig(source=str(text), context=64, tasks={"text": 1, "coin": 1}, val_windows=50))
    alone = load(DataConfig(source=str(text), context=64))
    inputs, targets = data.batches(0, 1, alone.rows.unique)
    windows = inputs[0][(targets[0] >= 0).all(axis=1)]
    # the text itself may have equal windows, but hardly any
    assert len(np.unique(windows, axis=0)) > 0.98 * len(windows) > 100


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tasks": {"copy": 1}}, "the rate 'text'"),
        ({"tasks": {"text": 1}}, "no mixture"),
        ({"tasks": {"text": 1, "copy": 1}, "context": 20}, "too short for task 'copy'"),
        ({"eval_tasks": ("copy",)}, "eval_tasks"),
    ],
)
def test_mistakes_of_mixtures_are_told(text, changes, told):
    with pytest.raises(InputError, match=told):
        DataConfig(source=str(text), **changes)
    with pytest.raises(InputError, match="name the text as the source"):
        DataConfig(source="abilities", tasks={"text": 1, "copy": 1})


def test_tasks_can_be_scored_without_being_trained_on():
    base = {"source": "abilities", "tasks": {"copy": 1.0}, "eval_items": 50}
    more = load(DataConfig(**base, eval_tasks=("copy-6", "coin")))
    alone = load(DataConfig(**base, context=more.context))
    assert list(more.ability_sets()) == ["copy", "copy-6", "coin"]
    np.testing.assert_array_equal(more.batches(0, 1, 50)[0], alone.batches(0, 1, 50)[0])
    assert more.digest != alone.digest
    with pytest.raises(InputError, match="scored anyway"):
        DataConfig(**base, eval_tasks=("copy",))


def test_steps_of_progress_measures_are_not_part_of_the_data():
    base = {"source": "abilities", "tasks": {"copy": 1.0}, "eval_items": 50}
    assert load(DataConfig(**base, progress=6)).digest == load(DataConfig(**base)).digest


def test_what_the_quick_start_trains_on_is_pinned():
    """Its run ids follow the digest: whoever changes a generator has to say so here."""
    data = load(DataConfig(source="abilities", tasks={"copy": 0.75, "coin": 0.25}))
    assert data.digest.startswith("f513e0f5c05d")


def test_instructions_stand_in_place_of_the_tag():
    test = ability_set(find("sort/instruction"), 3, 40)
    assert TOKENIZER.decode(test.inputs_NxT[0]).startswith("sort")
