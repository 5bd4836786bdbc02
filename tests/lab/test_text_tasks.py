"""Tasks in text against single forward passes, and files of a user's own."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.abilities import find
from lab.config import ModelConfig, RunConfig
from lab.data import DataConfig, load
from lab.errors import InputError
from lab.evaluation import evaluate, metrics, text_tasks, user_tasks
from lab.model import decoder
from lab.training import train


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A byte-level model of random weights, sharpened so that its choices differ."""
    path = tmp_path_factory.mktemp("harness") / "t.jsonl"
    path.write_text("".join(f'{{"text": "some text number {n}"}}\n' for n in range(300)))
    data = load(DataConfig(source=str(path), context=64, val_windows=8))
    config = RunConfig(tokens=10**5, model=ModelConfig(width=16, layers=1, heads=2), data=data.config)
    params = train.initial_state(config, data.vocab_size).params
    params["head"]["kernel"] = params["head"]["kernel"] * 20
    return params, config, data


def log_probability(world, prompt, target):
    """Summed log-probability of a text after another, the slow way."""
    params, config, data = world
    tokens = [data.tokenizer.start, *data.tokenizer.encode(prompt + target)]
    logits = decoder.apply(params, jnp.array([tokens]), config.model, data.vocab_size)[0]
    log_p = np.asarray(jax.nn.log_softmax(logits))
    count = len(target.encode())
    return sum(log_p[t - 1, tokens[t]] for t in range(len(tokens) - count, len(tokens)))


def task(**changes):
    docs = [{"q": f"say {c}", "a": c, "all": ["x", "yes", c]} for c in "abcdefg"]
    base = {
        "name": "say",
        "docs": docs,
        "doc_to_text": lambda doc: doc["q"],
        "doc_to_target": lambda doc: doc["a"],
    }
    return text_tasks.TextTask(**(base | changes))


def test_log_likelihoods_are_those_of_a_forward_pass(world):
    scores = text_tasks.run(task(), *world)
    for doc, nats in zip(task().docs, scores.nats_N, strict=True):
        assert -nats == pytest.approx(log_probability(world, doc["q"], " " + doc["a"]), abs=1e-3)
    assert scores.tokens_N.tolist() == [2] * 7


def test_choices_are_scored_one_by_one(world):
    scores = text_tasks.run(task(output_type="multiple_choice", doc_to_choice=lambda doc: doc["all"]), *world)
    for i, doc in enumerate(task().docs):
        expected = [log_probability(world, doc["q"], " " + choice) for choice in doc["all"]]
        np.testing.assert_allclose(scores.choice_log_NxC[i], expected, atol=1e-3)
        assert scores.correct_N[i] == (int(np.argmax(expected)) == 2)
    assert scores.gold_choice_N.tolist() == [2] * 7
    assert scores.choice_bytes_NxC[0].tolist() == [1, 3, 1]


def test_examples_come_first_and_never_hold_the_item(world):
    writer = text_tasks._Writer(
        task(instruction="Repeat."), world[2].tokenizer, text_tasks.Shape(2, instruction=True)
    )
    for index, others in ((0, "bc"), (1, "ac"), (5, "ab")):
        text = world[2].tokenizer.decode(writer.prompt(index))
        asked = task().docs[index]["q"]
        assert text == f"Repeat.\n\nsay {others[0]} {others[0]}\n\nsay {others[1]} {others[1]}\n\n{asked}"
    split = task(fewshot_docs=[{"q": "say z", "a": "z"}])
    writer = text_tasks._Writer(split, world[2].tokenizer, text_tasks.Shape(1))
    assert world[2].tokenizer.decode(writer.prompt(0)) == "say z z\n\nsay a"


def test_reasoning_is_written_before_the_answer(world):
    thoughtful = task(doc_to_rationale=lambda doc: f"It is {doc['a']}.", output_type="generate_until")
    shape = text_tasks.Shape(1, thoughts=True)
    text = world[2].tokenizer.decode(text_tasks._Writer(thoughtful, world[2].tokenizer, shape).prompt(0))
    assert text == "say b It is b. Answer: b\n\nsay a"
    assert text_tasks._read(" It is a. Answer: a\nsay", thoughtful, shape) == "a"
    assert text_tasks._read(" It is a.", thoughtful, shape) is None
    assert text_tasks._read(" a\nmore", thoughtful, text_tasks.Shape()) == "a"
    assert shape.name_of("say") == "say/scratchpad/1-shot"


def test_generation_is_judged_by_what_was_written(world):
    scores = text_tasks.run(task(output_type="generate_until", max_new=6), *world)
    assert len(scores.texts) == 7
    for doc, text, right in zip(task().docs, scores.texts, scores.correct_N, strict=True):
        assert right == (text.split("\n")[0].strip() == doc["a"])
    rows = {row["metric"]: row for row in metrics.rows(scores) + metrics.more_rows(scores)}
    assert 0 <= rows["parse_rate"]["score"] <= 1
    assert rows["edit_distance"]["score"] >= 0
    assert rows["gold_nats"]["score"] > 0


def test_long_prompts_lose_their_beginning(world):
    long = text_tasks.run(task(doc_to_text=lambda doc: "z" * 500 + doc["q"]), *world)
    cut = 64 + 1 - 2 - len("say a")  # what is left of the context
    expected = -log_probability_without_start(world, "z" * cut + "say a", " a")
    assert long.nats_N[0] == pytest.approx(expected, abs=1e-3)


def log_probability_without_start(world, prompt, target):
    params, config, data = world
    tokens = data.tokenizer.encode(prompt + target).tolist()
    log_p = np.asarray(
        jax.nn.log_softmax(decoder.apply(params, jnp.array([tokens]), config.model, data.vocab_size)[0])
    )
    return sum(log_p[t - 1, tokens[t]] for t in range(len(tokens) - len(target), len(tokens)))


def test_an_ability_asked_in_text_gets_the_scores_of_the_ability():
    """The same items through both doors: rows of symbols, and texts in the shape of a harness."""
    data = load(DataConfig(source="abilities", tasks={"copy": 1.0}, eval_items=40))
    config = RunConfig(tokens=10**5, model=ModelConfig(width=8, layers=1, heads=1), data=data.config)
    params = train.initial_state(config, data.vocab_size).params
    test = data.ability_sets()["copy"]
    inside = evaluate.measure(params, config, data, test)
    decode = data.tokenizer.decode
    docs = [
        {"prompt": decode(row[: find("copy").prompt_length + 3]), "answer": decode(want[want >= 0])}
        for row, want in zip(test.inputs_NxT, test.targets_NxT, strict=True)
    ]
    outside = text_tasks.run(
        text_tasks.TextTask("copy", docs, lambda doc: doc["prompt"], lambda doc: doc["answer"]),
        params,
        config,
        data,
    )
    np.testing.assert_allclose(outside.nats_N, inside.nats_N, rtol=1e-5)
    np.testing.assert_array_equal(outside.tokens_right_N, inside.tokens_right_N)


def written(tmp_path, *docs, name="mine.jsonl"):
    path = tmp_path / name
    path.write_text("".join((doc if isinstance(doc, str) else json.dumps(doc)) + "\n" for doc in docs))
    return path


def test_a_jsonl_becomes_a_task(tmp_path):
    (made,) = user_tasks.read(
        written(
            tmp_path,
            {"prompt": "1+1=", "answer": "2", "cluster": "small"},
            {"prompt": "2+2=", "answer": "4", "cluster": "small"},
            {"prompt": "3+3=", "answer": "6", "split": "shots"},
        )
    )
    assert made.name == "mine"
    assert len(made.docs) == 2
    assert made.fewshot_docs[0]["answer"] == "6"
    assert made.output_type == "generate_until"
    assert made.doc_to_cluster(made.docs[0]) == "small"
    (several,) = user_tasks.read(written(tmp_path, {"prompt": "p", "choices": ["a", "b", "c"], "gold": 1}))
    assert several.output_type == "multiple_choice"
    assert several.doc_to_target(several.docs[0]) == "b"
    assert several.chance["choice_accuracy"] == pytest.approx(1 / 3)


def test_mistakes_are_told_with_their_line(tmp_path):
    good = {"prompt": "p", "answer": "a"}
    path = written(
        tmp_path,
        good,
        "{not json",
        {"prompt": "p", "anwser": "a"},
        {"prompt": "p", "choices": ["a"], "gold": 0},
        {"prompt": "p", "choices": ["a", "b"], "gold": 2},
        {"answer": 5},
    )
    with pytest.raises(InputError) as caught:
        user_tasks.read(path)
    told = "\n".join(caught.value.problems)
    for words in (
        ":2: is no JSON",
        ":3: no such field 'anwser'; did you mean answer",
        ":4: choices",
        ":5: gold",
        ":6:",
    ):
        assert words in told
    with pytest.raises(InputError, match=r"item 2 has choices.*, so put them into two files"):
        user_tasks.read(written(tmp_path, good, {"prompt": "p", "choices": ["a", "b"], "gold": 0}))
    with pytest.raises(InputError, match="no such file"):
        user_tasks.read(tmp_path / "none.jsonl")


def test_a_python_file_defines_tasks(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from lab.evaluation.text_tasks import TextTask\n"
        "DOUBLE = TextTask('double', [{'n': 2}], lambda d: f'{d[\"n\"]}*2=', lambda d: str(2 * d['n']))\n"
    )
    (made,) = user_tasks.read(path)
    assert made.doc_to_target(made.docs[0]) == "4"
    path.write_text("x = 1\n")
    with pytest.raises(InputError, match="defines no"):
        user_tasks.read(path)


XY = ["x", "y"]


@pytest.mark.parametrize(
    ("doc", "prompt", "choices", "gold"),
    [
        ({"question": "q", "choices": ["x", "y", "z"], "answer": 2, "subject": "s"}, "q", ["x", "y", "z"], 2),
        ({"question": "q", "choices": ["x", "y"], "answer": "B"}, "q", ["x", "y"], 1),
        ({"prompt": "q", "choices": ["x", "y"], "gold": "B"}, "q", ["x", "y"], 1),
        ({"prompt": "q", "choices": ["x", "y"], "gold": "(b)"}, "q", ["x", "y"], 1),
        ({"question": "q", "options": ["x", "y"], "answer": "y"}, "q", ["x", "y"], 1),
        ({"ctx": "q", "endings": ["x", "y"], "label": "1"}, "q", ["x", "y"], 1),
        ({"question": "q", "A": "x", "B": "y", "answer": "A"}, "q", ["x", "y"], 0),
        (
            {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
            "q",
            ["x", "y"],
            1,
        ),
        ({"question": "q", "options": {"A": "x", "B": "y"}, "answer_idx": "B"}, "q", ["x", "y"], 1),
        ({"passage": "p", "question": "q", "choices": ["no", "yes"], "label": 1}, "p\nq", ["no", "yes"], 1),
        ({"goal": "q", "sol1": "x", "sol2": "y", "label": 1}, "q", ["x", "y"], 1),
        ({"sentence": "q", "option1": "x", "option2": "y", "answer": "1"}, "q", ["x", "y"], 0),
        (
            {"question": {"stem": "q", "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}]}}
            | {"id": "i", "answerKey": "B"},
            "q",
            ["x", "y"],
            1,
        ),
    ],
)
def test_items_in_the_shapes_that_people_have(tmp_path, doc, prompt, choices, gold):
    (made,) = user_tasks.read(written(tmp_path, doc))
    (item,) = made.docs
    assert (item["prompt"], item["choices"], item["gold"]) == (prompt, choices, gold)
    if "subject" in doc:
        assert dict(made.remarks)["fields_unread"] == "fields that are not read: subject (1 items)"
    if "gold" not in doc:
        assert "gold" in dict(made.remarks), "what was renamed is told"


def test_free_answers_numbers_from_one_and_paraphrases(tmp_path):
    (made,) = user_tasks.read(
        written(tmp_path, {"question": "q", "answer": 4}, {"input": "r", "target": "s"})
    )
    assert [doc["answer"] for doc in made.docs] == ["4", "s"]
    assert "numbers" in dict(made.remarks)["number"]
    (made,) = user_tasks.read(written(tmp_path, {"question": "2+2*3?", "answer": "2*3 is 6\n#### 8"}))
    assert (made.docs[0]["answer"], made.docs[0]["rationale"]) == ("8", "2*3 is 6")
    assert "worked" in dict(made.remarks)
    docs = [{"question": f"q{n}", "choices": ["x", "y", "z"], "answer": 1 + n % 3} for n in range(6)]
    (made,) = user_tasks.read(written(tmp_path, *docs))
    assert [doc["gold"] for doc in made.docs] == [0, 1, 2, 0, 1, 2]
    assert "counts from 1" in dict(made.remarks)["gold"]
    twice = [
        {"question": f"How, in words {n}?", "choices": ["the first way", "the second way"], "answer": 0}
        for n in "ab"
    ]
    assert "`cluster`" in dict(user_tasks.read(written(tmp_path, *twice))[0].remarks)["repeated_items"]
    told = [doc | {"cluster": "one"} for doc in twice]
    assert "repeated_items" not in dict(user_tasks.read(written(tmp_path, *told))[0].remarks)


def test_prompts_that_do_not_fit_are_counted_and_few_shots_never_cut_to_none(world):
    long = task(doc_to_text=lambda doc: "z" * (70 if doc["a"] == "a" else 1) + doc["q"])
    (said,) = text_tasks.run(long, *world).remarks
    assert said[0] == "prompts_cut"
    assert "1 of 7 prompts do not fit the context of 64 tokens" in said[1]
    assert "1 lose a part of the question itself" in said[1]
    assert not text_tasks.run(task(), *world, text_tasks.Shape(2)).remarks
    polite = task(doc_to_text=lambda doc: f"please {doc['q']}")
    (said,) = text_tasks.run(polite, *world, text_tasks.Shape(6)).remarks
    assert "7 of 7 prompts do not fit" in said[1]
    assert "solved examples in all; 0 of them keep none" in said[1]
    wordy = task(doc_to_text=lambda doc: "z" * 60 + doc["q"])
    with pytest.raises(InputError, match=r"say/2-shot: of prompts of up to .* keeps no solved example"):
        text_tasks.run(wordy, *world, text_tasks.Shape(2))


def test_one_answer_to_all_items_is_told(world):
    docs = [
        {"q": f"say {c}", "a": "yes" if n % 2 else "x", "all": ["x", "yes"]}
        for n, c in enumerate("abcdefg" * 3)
    ]
    found = task(docs=docs, output_type="multiple_choice", doc_to_choice=lambda doc: doc["all"])
    scores = text_tasks.run(found, *world)
    chosen = {int(c) for c in scores.choice_log_NxC.argmax(1)}
    told = [text for code, text in scores.remarks if code == "always_one"]
    assert len(chosen) == 1, "this world likes the shorter word"
    assert "100% of the answers are 'x', which is right for 52%" in told[0]


def test_questions_of_two_kinds_in_one_file_are_told_apart(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "2+2?", "choices": ["3", "4"], "answer": 1}\n{"prompt": "a", "answer": "b"}\n'
    )
    with pytest.raises(InputError, match=r"item 2 has no choices, unlike those before it.*two files"):
        user_tasks.read(path)
