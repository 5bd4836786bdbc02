"""What a plan says before anything is paid, against hand counts and planted troubles."""

import copy
import csv
import io
import json
import random
import sys

import pytest

from lab.errors import InputError
from lab.machine import speed
from sweeps.plan import budgets, design_checks, pricing, step_timing
from sweeps.store import step_times
from sweeps.store.store import Store
from sweeps.study import designs
from sweeps.study.prior import Prior
from sweeps.verbs import plan_output
from sweeps.verbs import planning as planning_verbs
from tests.sweeps.planned import DATA, WIDE, make


def test_ids_of_many_runs_are_those_of_each(own_cache):
    grid = {**WIDE, "factors": {"optimizer.decay_timescale": [0.5, 1.0], "model.qk_norm": [True, False]}}
    found = make(grid, {"tokens": [30_000], "model": {"width": 12}, "optimizer": {"schedule": "cosine"}})
    assert len(found.cells) == 4 * 4 * 2 * 2 * 2 + 1
    for cell in random.Random(0).sample(found.cells, 60):
        digest = found.dataset(cell.config).digest
        assert cell.run_id == cell.config.run_id(digest)
        assert cell.trunk in (None, cell.config.trunk_id(digest))


def test_published_laws_of_the_rate_become_numbers_before_a_run_has_an_id():
    found = make({**WIDE, "optimizer": {"learning_rate_law": "step"}})
    rates = {(c.config.model.width, c.config.tokens): c.config.optimizer.learning_rate for c in found.cells}
    assert len(set(rates.values())) == 16
    assert rates[8, 10_000] > rates[64, 10_000]


def test_shares_add_up_to_all_steps_and_evaluations(own_cache):
    found = make(WIDE)
    for program in pricing.programs(found).values():
        speed.record(program.config, program.vocab, 0.001 * program.config.model.width)
    per = {c.run_id: c.config.model.width * 1e-3 for c in found.cells}
    rows = 64  # validation windows
    expected = sum(t.own_steps * t.config.model.width * 1e-3 for t in found.trunks)
    expected += sum(c.own_steps * per[c.run_id] + rows / 8 * per[c.run_id] / 3 for c in found.cells)
    assert sum(pricing.Prices(found).shares.values()) == pytest.approx(expected)
    tokens = pricing.trained_tokens(found)
    steps = sum(n.own_steps for n in (*found.cells, *found.trunks))
    assert sum(tokens.values()) == steps * 8 * 32
    priced = plan_output.Priced(found, workers=4)
    totals = priced.totals()
    assert totals["measured"] == 1
    assert totals["hours_left"] == pytest.approx(expected / 3600 / 4)
    low, high = totals["energy_kwh"]
    assert low == pytest.approx(expected * pricing.CORE_WATTS[0] / 3.6e6)
    assert high == pytest.approx(expected * pricing.CORE_WATTS[1] / 3.6e6)
    assert totals["energy_source"].startswith("estimate")
    assert totals["memory_bytes"] > 12 * max(c.params.total for c in found.cells)


def test_a_budget_pays_for_the_cheapest_runs(own_cache):
    found = make(WIDE)
    for program in pricing.programs(found).values():
        speed.record(program.config, program.vocab, 0.001 * program.config.model.width)
    shares = sorted(pricing.Prices(found).shares.values())
    hours = (sum(shares[:3]) + 0.5 * shares[3]) / 3600
    watts = pricing.CORE_WATTS[1]
    for limit in (
        budgets.Budget(hours=hours),
        budgets.Budget(kwh=hours * watts / 1000),
        budgets.Budget(money=2 * hours, price=2.0),
    ):
        paid = plan_output.Priced(found, budget=limit).affordable
        assert (paid.runs, paid.left) == (3, len(found.cells))
        assert f"pay for 3 of the {len(found.cells)} runs left" in str(paid)
    flops = plan_output.Priced(found, budget=budgets.Budget(flops=1e30)).affordable
    assert flops.runs == flops.left
    assert flops.needed == pytest.approx(found.flops_spent())
    with pytest.raises(InputError, match="--price go together"):
        budgets.budget(None, None, None, 5.0, None)
    with pytest.raises(InputError, match="--hours: -1"):
        budgets.budget(None, -1.0, None, None, None)
    with pytest.raises(InputError, match="one budget"):
        budgets.budget(1e12, 2.0, None, None, None)
    assert budgets.budget(None, None, None, None, None) is None


def test_unmeasured_shapes_take_the_rate_of_the_nearest_measured_one(own_cache):
    found = make(WIDE)
    programs = pricing.programs(found)
    for program in programs.values():
        if program.config.model.width in (8, 64):
            rate = 1e8 if program.config.model.width == 8 else 1e9
            speed.record(program.config, program.vocab, program.flops_per_step / rate)
    for cell in found.cells:
        time = pricing.Prices(found).seconds_per_step[cell.run_id]
        key = pricing.program_key(cell.config, found.dataset(cell.config).vocab_size)
        rate = programs[key].flops_per_step / time.seconds
        width = cell.config.model.width
        assert time.measured == (width in (8, 64))
        if width != 32:  # which of the two is nearer to 32 is not the point
            assert rate == pytest.approx(1e9 if width == 64 else 1e8)
    assert [p.config.model.width for p in step_timing.unmeasured(found)] == [32, 16]
    assert not step_timing.is_cheap(found, step_timing.unmeasured(found)), (
        "a study of seconds is not probed unasked"
    )


def test_a_probe_measures_the_real_program_and_is_kept(tmp_path, monkeypatch):
    from lab.machine import devices

    devices.enable_compilation_cache()  # that of all tests: what is kept apart is what was measured
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = make({"sizes": [{"width": 8}], "tokens": [10_000]})
    (program,) = step_timing.unmeasured(found)
    compiled, seconds = step_timing.measure(program.config, found.dataset(program.config))
    assert compiled > 0
    assert 1e-6 < seconds < 1
    assert step_timing.unmeasured(found) == []
    assert pricing.Prices(found).seconds_per_step[found.cells[0].run_id] == speed.StepTime(seconds, True)


def test_a_probe_runs_in_a_process_of_its_own_and_one_that_fails_says_why(own_cache, monkeypatch):
    found = make({"sizes": [{"width": 8}], "tokens": [10_000]})
    todo, lines = step_timing.unmeasured(found), []
    step_timing.probe(todo, lines.append)
    assert len(lines) == 1
    assert "ms a step, compiled in" in lines[0]
    assert pricing.Prices(found).seconds_per_step[found.cells[0].run_id].measured
    broken = [sys.executable, "-c", "import sys; sys.exit('ValueError: no such chip')"]
    monkeypatch.setattr(step_timing.python, "command", lambda *_: broken)
    step_timing.probe(todo, lines.append)
    assert "exit code 1: ValueError: no such chip; its other shapes stay" in lines[1]


def test_a_plan_takes_what_steps_took_in_its_store_and_on_its_machine(tmp_path, own_cache, monkeypatch):
    made, wide = make({**WIDE, "tokens": [10_000]}), make({"sizes": [{"width": 256}], "tokens": [10_000]})
    store = Store(tmp_path / "store")
    store.write_study(made, "")
    programs = pricing.programs(made).values()
    flops = {program.config.model.width: program.flops_per_step for program in programs}
    for cell in made.cells:
        folder = store.run(cell.run_id)
        folder.write_spec(store.node(cell).job.spec(made.dataset(cell.config), {}))
        for step in (0, 20, 40, 60, 80):  # a stretch that the machine was busy in, and one of compiling
            seconds = 0.0 if step == 0 else flops[cell.config.model.width] / 1e9 * 20
            seconds *= 50 if step == 40 else 1
            about = {"attempt": "a", "phase": "train", "step": step, "device_seconds": seconds}
            folder.append_costs(about | {"device": "cpu", "compile_seconds": 5.0})
    for plan, known in ((made, True), (wide, False)):
        prices = plan_output.Priced(plan, store.root).prices
        for cell in plan.cells:
            time = prices.seconds_per_step[cell.run_id]
            key = pricing.program_key(cell.config, plan.dataset(cell.config).vocab_size)
            assert prices.programs[key].flops_per_step / time.seconds == pytest.approx(1e9)
            assert time.measured == known
    (cell,) = wide.cells
    guessed = pricing.Prices(wide).seconds_per_step[cell.run_id].seconds
    for program in programs:  # another plan ran here
        speed.record(program.config, program.vocab, guessed * program.flops_per_step / flops[64])
    found = pricing.Prices(wide).seconds_per_step[cell.run_id].seconds
    (program,) = pricing.programs(wide).values()
    assert found == pytest.approx(guessed * program.flops_per_step / flops[64])
    monkeypatch.setattr(speed, "device_kind", lambda: "NVIDIA H100")  # what ran on CPUs says nothing of it
    assert speed.others() == []
    assert step_times.seen(store).device == "cpu"


def test_states_are_read_from_folders_and_finished_cells_cost_nothing(tmp_path, own_cache):
    found = make(
        {"sizes": [{"width": 8}, {"width": 16}], "tokens": [10_000], "optimizer": {"schedule": "cosine"}}
    )
    first, second = found.cells
    store = Store(tmp_path / "store")
    store.run(first.run_id).commit(
        {"row": {"run_id": first.run_id, "status": "ok", "loss_nats": 2.0}, "abilities": []}
    )
    priced = plan_output.Priced(found, tmp_path / "store")
    assert priced.states == {first.run_id: "done", second.run_id: "new"}
    assert priced.seconds_left() == pricing.Prices(found).shares[second.run_id]
    store.fail(second.run_id, 2, "broke", "")
    priced = plan_output.Priced(found, tmp_path / "store")
    assert priced.states[second.run_id] == "failed"
    assert priced.seconds_left() == 0


def test_csv_and_json_hold_every_cell_where_text_is_shortened(own_cache):
    found = make({**WIDE, "seeds": list(range(10))})
    priced = plan_output.Priced(found)
    rows = list(csv.DictReader(io.StringIO(plan_output.as_csv(priced))))
    value = json.loads(plan_output.as_json(priced))
    assert len(rows) == len(value["rows"]) == len(found.cells) == 160
    assert [r["run_id"] for r in rows] == [c.run_id for c in found.cells]
    text = plan_output.as_text(priced)
    assert "100 more, all in --json and --csv" in text
    assert "not a measurement" in text


PLANTED = [
    ({"sizes": WIDE["sizes"][:3], "tokens": WIDE["tokens"]}, "fewer than 4 sizes"),
    (
        {"sizes": [{"width": w} for w in (20, 22, 24, 26)], "tokens": [20_000, 21_000, 22_000]},
        "within one decade of compute",
    ),
    ({"sizes": [{"width": w} for w in (20, 22, 24, 26)], "tokens": WIDE["tokens"]}, "sizes differ by less"),
    ({"sizes": WIDE["sizes"], "tokens": [20_000, 30_000, 40_000]}, "token budgets differ by less"),
    (
        {"sizes": [{"width": w, "layers": 1 + w // 16} for w in (8, 16, 32, 64)], "tokens": WIDE["tokens"]},
        "depths differ (1, 2, 3, 5 layers)",
    ),
    (
        {**WIDE, "data": {**DATA, "max_tokens": 50_016}},
        "the largest budget is 1.6 times its 50k unique tokens",
    ),
    (
        {"design": "isoflop", "flops": [1e10, 2e11], "sizes": WIDE["sizes"][:2]},
        "1e+10 FLOPs have 2 sizes; a minimum wants 5",
    ),
    (
        {
            "design": "isoflop",
            "flops": [1e10, 3e10],
            "valley": {"tokens_per_param": 1.0, "spread": 2.0},
            "shape": {"head_width": 2},
        },
        "the minimum is expected at",
    ),
    (
        {
            "design": "isoflop",
            "flops": [1e10],
            "valley": {"tokens_per_param": 1.0, "spread": 6.0},
            "shape": {"head_width": 2},
            "data": {**DATA, "context": 512},
        },
        "its sizes spend FLOPs that differ by a factor of",
    ),
    (
        {
            **WIDE,
            "sizes": [{"width": 8 * n, "layers": n} for n in (1, 2, 3, 4)],
            "model": {"parametrization": "mup"},
        },
        "depths grow from 1 to 4 layers: parametrization completep does both",
    ),
    (
        {**WIDE, "optimizer": {"warmup_tokens": 30_000}},
        "16 of 32 runs are shorter than their warmup of 30k tokens (the shortest has 10k)",
    ),
    ({**WIDE, "tokens": [40_000, 40_001, 80_000]}, "tokens 40,000, 40,001 are one budget: each is"),
]


@pytest.mark.parametrize(("grid", "words"), PLANTED)
def test_a_planted_trouble_is_told(grid, words, own_cache):
    assert any(words in line for line in design_checks.warnings(make(grid)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"learning_rate": 1e-8}}, "a learning rate of 1e-08"),
        ({"optimizer": {"learning_rate": 2.0}}, "a learning rate of 2"),
        ({"optimizer": {"weight_decay": 100.0}}, "weights lose 40% a step"),
        ({"optimizer": {"warmup_tokens": 10**6}}, "never stay at their peak rate"),
        ({"model": {"layers": 100, "heads": 1}}, "deeper than wide"),
    ],
)
def test_what_is_merely_odd_is_a_doubt(changes, words, own_cache):
    assert any(words in line for line in design_checks.warnings(make(copy.deepcopy(WIDE), **changes)))


def test_a_sound_design_has_no_doubts_and_a_large_run_has_one(monkeypatch, own_cache):
    found = make(WIDE)
    assert design_checks.warnings(found) == []
    monkeypatch.setattr(pricing, "device_memory", lambda: 1000)
    assert "of memory, a device has 1kB" in design_checks.warnings(found)[0]


def test_a_centred_valley_has_no_doubt(own_cache):
    prior = Prior()
    flops = 1e11
    ratio = flops / (6 * prior.optimal_params(flops) ** 2)
    grid = {
        "design": "isoflop",
        "flops": [flops],
        "valley": {"tokens_per_param": ratio, "spread": 3.0},
        "shape": {"head_width": 2},
    }
    assert not any("minimum" in line for line in design_checks.warnings(make(grid)))


def test_the_optimum_of_a_prior_is_the_lowest_loss_at_its_compute():
    prior = Prior()
    for flops in (1e9, 1e12):
        best = prior.optimal_params(flops)
        losses = [prior.loss(best * f, flops / (6 * best * f)) for f in (0.98, 1.0, 1.02)]
        assert losses[1] == min(losses)


def test_plan_takes_overrides_and_refuses_nonsense(tmp_path, study_file, capsys, own_cache):
    args = [
        str(study_file),
        "--probe",
        "never",
        "--json",
        "--set",
        "grids.language.seeds=[0]",
        "--workers",
        "3",
    ]
    assert planning_verbs.plan(args) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["cells"], value["workers"], value["states"]) == (6, 3, {"new": 6})
    with pytest.raises(InputError, match="--workers: should be at least 1"):
        planning_verbs.plan([str(study_file), "--workers", "0"])


def test_large_grids_cost_a_few_operations_a_cell(own_cache, monkeypatch):
    """Counted, not timed: whole configurations are described a few times a shape, not once a cell."""
    calls = []
    real = designs.RunConfig.describe
    monkeypatch.setattr(designs.RunConfig, "describe", lambda self, d: calls.append(1) or real(self, d))
    grid = copy.deepcopy(WIDE) | {"tokens": [1_000 * k for k in range(1, 51)], "seeds": list(range(10))}
    found = make(grid)
    assert len(found.cells) == 4 * 50 * 10 - 4 * 10 * (50 - len({c.config.steps for c in found.cells}))
    assert len(calls) < 4 * 10 * 4


def test_a_time_taken_while_the_machine_was_busy_does_not_price_a_study():
    flops = {"a": 1e8, "b": 2e8, "c": 4e8, "d": 8e8, "e": 16e8, "f": 3e8}
    sound = {key: flops[key] / 5e9 for key in "abcde"}
    assert pricing.odd(flops, sound) == []
    as_told = pricing.bounded_times(flops, sound)
    assert all(as_told[key] == pytest.approx(sound[key]) for key in sound)
    for busy in "abcde":
        told = {**sound, busy: 900 * sound[busy]}
        assert busy in pricing.odd(flops, told)
        found = pricing.bounded_times(flops, told)
        assert found[busy] == pytest.approx(3 * sound[busy])
        # The shape that was never timed lies between b and c.
        assert found["f"] / flops["f"] <= 2 / 5e9
    # Two neighbours that were both disturbed speak for each other; a larger program speaks against them.
    found = pricing.bounded_times(flops, {**sound, "a": 30 * sound["a"], "b": 30 * sound["b"]})
    assert found["a"] <= 3 * sound["c"]
    assert found["b"] <= 3 * sound["c"]
    # A program is dearer a FLOP the narrower it is; that is no oddity.
    narrow = {key: flops[key] / rate for key, rate in zip("abcde", (1e9, 2e9, 4e9, 8e9, 9e9), strict=True)}
    assert pricing.odd(flops, narrow) == []
    assert pricing.bounded_times({key: flops[key] for key in narrow}, narrow) == pytest.approx(narrow)


def test_the_guess_of_an_untimed_shape_never_exceeds_twice_its_neighbours():
    flops = {"a": 1e8, "x": 1.9e8, "c": 4e8, "y": 1e9}
    told = {"a": 0.1, "c": 0.08}
    found = pricing.bounded_times(flops, told)
    costs = {key: found[key] / flops[key] for key in flops}
    assert costs["y"] == pytest.approx(costs["c"])
    # The nearest took five times as long a FLOP as the other neighbour; the guess believes neither of it all.
    assert costs["x"] == pytest.approx(2 * costs["c"])
    assert costs["x"] < costs["a"]
