"""The findings in words: what was trained, the law, its held-out error, the allocation, the abilities."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from analysis.audits.foretold import foretold
from analysis.errors import InputError
from analysis.laws.law import tidy_formula
from analysis.plots.style import plain
from analysis.report import abilities
from analysis.report.html import Markup, count, duration, items, number, power, span, table, text
from analysis.report.study import Group, Study, finished
from analysis.tables.table import numbers

_MEANING = {
    "E": "irreducible loss",
    "A": "scale of the size term",
    "B": "scale of the data term",
    "alpha": "fall with parameters",
    "beta": "fall with tokens",
    "gamma": "power of both together",
    "N_c": "scale of the size term",
    "D_c": "scale of the data term",
    "alpha_N": "fall with parameters",
    "alpha_D": "fall with tokens",
}


def findings(study: Study) -> str:
    """The cards of the first page, as HTML."""
    cards = []
    laws = [group for group in study.groups if group.fit is not None]
    several = len(laws) > 1
    for group in laws[:1]:
        cards += [_law(group), _held_out(group, several), _allocation(group, several)]
    # A study of abilities has no law to show, and that is not what people open it for.
    cards += [_abilities(study)] if laws else [_abilities(study), _no_law(study)]
    enough = _sobriety(study)
    cards += [
        enough,
        _foretold(study),
        _compressed(study),
        _associations(study),
        _warnings(study, wide=not enough),
        _others(laws[1:]),
    ]
    return "".join(cards)


def _others(groups: list[Group]) -> str:
    """Laws of further grids of the store: one law speaks on the first screen, the others wait."""
    if not groups:
        return ""
    parts = "".join(_law(group) + _held_out(group, True) + _allocation(group, True) for group in groups)
    named = ", ".join(group.name for group in groups)
    said = f"Laws of the store's other grids <small>({text(named)})</small>"
    return f'<details class="wide"><summary>{said}</summary><div class="cards">{parts}</div></details>'


def fold(body: str, title: str = "How this was computed") -> str:
    """Behind a fold: what a reader needs who checks, not who reads first."""
    return f'<details class="how"><summary>{text(title)}</summary>{body}</details>' if body else ""


def summary(study: Study) -> str:
    """One sentence of what was trained, plain text."""
    runs = study.runs
    good = finished(runs)
    params = np.asarray(runs.columns["params"], float)
    tokens = np.asarray(runs.columns["tokens"], float)
    known = np.isfinite(params) & np.isfinite(tokens)
    if not good.any():
        return f"{len(runs)} runs are listed, none has finished yet."
    sizes = len({f"{value:.3g}" for value in params[good & known]})
    said = f"{good.sum()} of {len(runs)} runs" if good.sum() < len(runs) else f"{len(runs)} runs"
    said += f" finished: {sizes} model sizes of {span(*_ends(params[good & known]), count)} parameters,"
    said += f" trained on {span(*_ends(tokens[good & known]), count)} tokens."
    flops, seconds = totals(study)
    said += f" Together {power(flops)} FLOPs" if flops > 0 else ""
    said += f" in {duration(seconds)} of device time." if seconds > 0 else ("." if flops > 0 else "")
    return said


def totals(study: Study) -> tuple[float, float]:
    """FLOPs (exact where counted) and device seconds of all runs that spent any, compilation included."""
    columns = study.runs.columns
    found = study.costs
    if found is None:
        spent = next(name for name in ("flops_exact", "flops_6nd", "flops") if name in columns)
        return float(np.nansum(numbers(columns[spent])[finished(study.runs)])), 0.0
    return found.flops, found.total.seconds


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _sobriety(study: Study) -> str:
    """The smallest model that is good enough, by loss and by each ability."""
    found = study.sobriety
    if found is None:
        return ""
    told = [f"{str(one)[:1].upper()}{str(one)[1:]}." for one in found.enough[:5]]
    knee = next((front.knee for front in found.fronts if front.resource == "joules"), None)
    if knee is not None and knee is not found.grams:
        where = f"{count(knee.params)} parameters, {count(knee.tokens)} tokens and a loss of {knee.loss:.4g}"
        told.append(f"Beyond {where} energy buys less: the knee of the frontier.")
    if found.grams is not None:
        grams, beaten = found.grams, f"{found.beaten} of {len(found.runs)} runs are"
        told.append(
            f"{beaten} no better than {grams.run_id}, a model without a network: {grams.loss:.4g} nats from "
            f"{count(grams.tokens)} tokens."
        )
    how = "measured" if found.basis == "measured" else "estimated, not measured"
    body = "".join(f"<p>{text(sentence)}</p>" for sentence in told)
    said = f"Of {len(found.runs)} finished runs; energy is {how}. lab energy has the frontiers."
    body += f'<p class="fine">{text(said)}</p>'
    return _card("sobriety", "Enough for less", body)


def _foretold(study: Study) -> str:
    """Every forecast that was registered in the store, also those that missed."""
    if not study.path.is_dir():
        return ""
    try:
        found = foretold(study.path, study.runs)
    except InputError:
        return ""
    if not found.entries:
        return ""
    rows: list[list[Any]] = []
    for entry in found.entries:
        if entry.record is None:
            rows.append([entry.name, "", "", "", "", "", entry.fault])
            continue
        when, law = entry.record["registered"][:10], entry.record["law"]
        came = [] if entry.outcome is None else list(entry.outcome.cells)
        for cell in came:
            said = f"{'inside' if cell.inside else 'missed'}, {cell.error_percent:+.2f} %"
            reach = f"{cell.low:.4g} to {cell.high:.4g}"
            rows.append([entry.name, when, law, count(cell.params), count(cell.tokens), reach, said])
        for one, without in entry.without_loss():
            reach = f"{one['low']:.4g} to {one['high']:.4g}"
            place = [count(one["params"]), count(one["tokens"])]
            rows.append([entry.name, when, law, *place, reach, without or "not trained yet"])
    inside, all_came = found.inside
    said = f"{inside} of {all_came} runs inside their interval" if all_came else "nothing has come yet"
    if found.diverged:
        said += f"; {found.diverged} diverged"
    head = [(name, "") for name in ("forecast", "registered", "law", "params", "tokens", "interval", "came")]
    body = f"<p>{text(said)}.</p>{table(head, rows, 'Forecasts registered before their runs', True)}"
    return _card("wide", "Foretold before it was trained", body)


def _compressed(study: Study) -> str:
    """What fewer bits and weights do, as `lab compress` measured it."""
    found = study.compressed
    if found is None or not found.sentences():
        return ""
    body = "".join(f"<p>{text(sentence)}</p>" for sentence in found.sentences())
    body += '<p class="fine">Without training again; lab compress has the table of methods.</p>'
    return _card("compression", "Fewer bits, fewer weights", body)


def _associations(study: Study) -> str:
    """What models make of a planted association."""
    if not study.associations:
        return ""
    body = "".join(f"<p>{text(f'{one}.')}</p>" for one in study.associations)
    fine = "Intervals are over seeds; lab bias has the table of sizes."
    return _card("association", "A planted association", f'{body}<p class="fine">{text(fine)}</p>')


def _card(kind: str, title: str, body: str, name: str = "") -> str:
    where = f' <span class="where">{text(name)}</span>' if name else ""
    return f'<article class="card {kind}"><h3>{text(title)}{where}</h3>{body}</article>'


def _law(group: Group) -> str:
    fit = group.fit
    level = f"{fit.level:.0%}"
    said = f'<p class="formula">{formula(tidy_formula(fit.law, fit.params))}</p>'
    why = ""
    if fit.law.name == "chinchilla":
        said += f"<p>{text(_in_words(fit, ' nats per token' if group.runs.store else ''))}</p>"
    elif group.chinchilla is not None:
        why += _beside(fit, group.chinchilla)
    if fit.leading is not None:
        why += f'<p class="why">{text(fit.leading.reason[:1].upper() + fit.leading.reason[1:])}.</p>'
    rows = []
    for name, value in fit.params.items():
        pair = fit.intervals.get(name)
        meaning = _MEANING.get(name, "")
        if name == "alpha" and "beta" not in fit.params and {"params", "tokens"} <= set(fit.law.inputs):
            meaning = "fall with parameters and with tokens"
        rows.append((Markup(symbol(name)), number(value), "–" if pair is None else span(*pair), meaning))
    header = (("", ""), ("fitted", ""), (f"{level} interval", ""), ("what it is", ""))
    values = table(header, rows)
    objective, certificate = fit.objective, fit.certificate
    how = f"{fit.points} runs, {objective.name} on {objective.residual} residuals"
    how += f" (corner {objective.delta:g})" if objective.delta else ""
    how += f"; intervals from {len(next(iter(fit.draws.values()), ()))} draws of {fit.resampled}"
    how += "; a certified optimum" if certificate.converged else "; NOT a certified optimum"
    how += f" (relative gradient {certificate.gradient_norm:.1g}, {certificate.starts} starts)."
    why += f'<p class="fine">{text(how)} {text(fit.law.source)}.</p>'
    body = f'<div class="pair"><div>{said}{fold(why)}</div><div>{values}</div></div>'
    return _card("law wide", "The law", body, group.name)


def _beside(fit, chinchilla) -> str:
    """Chinchilla's form on the same runs, where another law is shown."""
    ratio = chinchilla.objective.value / fit.objective.value
    said = "On the same runs,"
    fitted = formula(tidy_formula(chinchilla.law, chinchilla.params))
    return f"<p>{text(said)} Chinchilla's is {fitted}, its objective {ratio:.2g} times as high.</p>"


def formula(line: str) -> str:
    """The law's formula as HTML: powers raised, params and tokens as N and D."""
    plainly = re.sub(r"\d(\.\d+)?e[+-]\d+", lambda found: number(float(found[0])), line)
    out = text(plainly)
    out = re.sub(r"\^\(([^()]*)\)", lambda found: f"<sup>{found[1].replace('/', '⁄')}</sup>", out)
    out = re.sub(r"\^(-?[\w.]+)", r"<sup>\1</sup>", out)
    out = re.sub(r"\bparams\b", "<i>N</i>", out)
    out = re.sub(r"\btokens\b", "<i>D</i>", out)
    out = re.sub(r"\bflops\b", "<i>C</i>", out)
    out = out.replace("loss", "<i>L</i>", 1).replace("*", " · ").replace("/", " / ").replace("< / ", "</")
    # A line may break between terms, never inside one.
    return " + ".join(f"<span>{term}</span>" for term in out.split(" + "))


def symbol(name: str) -> str:
    greek = {"alpha": "α", "beta": "β", "gamma": "γ", "eta": "η"}
    letter, _, index = name.partition("_")
    below = f"<sub>{text(index)}</sub>" if index else ""
    return f"<i>{text(greek.get(letter, letter))}</i>{below}"


def _in_words(fit, unit: str) -> str:
    p = fit.params
    said = f"With more parameters (N) and more tokens (D) the loss falls towards {plain(p['E'])}{unit}"
    if "E" in fit.intervals:
        said += f" ({span(*fit.intervals['E'])})"
    said += f". Twice the parameters take {1 - 2 ** -p['alpha']:.0%} off the part that is owed to size,"
    said += f" twice the tokens {1 - 2 ** -p['beta']:.0%} off the part that is owed to data."
    at = int(np.argmax(fit.data["flops"] if "flops" in fit.data else fit.data["params"] * fit.data["tokens"]))
    n, d = float(fit.data["params"][at]), float(fit.data["tokens"][at])
    owed = p["A"] / n ** p["alpha"], p["B"] / d ** p["beta"]
    said += f" At the largest fitted run ({count(n)} parameters, {count(d)} tokens) the law's loss of"
    said += f" {plain(p['E'] + sum(owed))} is {plain(p['E'])} irreducible,"
    return f"{said} {owed[0]:.2g} size, {owed[1]:.2g} data."


def _held_out(group: Group, several: bool) -> str:
    name = group.name if several else ""
    forecast = group.forecast
    if forecast is None or forecast.score is None:
        why = group.refusals.get(
            "forecast", "no run was held out, so nothing checks the law beyond its own data"
        )
        return _card("held", "Held-out error", f'<p class="big none">–</p><p>{text(why)}.</p>', name)
    score = forecast.score
    runs = "run" if score.cells == 1 else "runs"
    big = f'<p class="big">{score.mean_abs_error_percent:.2g}<small>%</small></p>'
    law = forecast.fit.law.name
    said = f"mean error of the predicted loss of {score.cells} {runs} that the {law} law never saw, at up to"
    said += f" {score.compute_ratio:.2g} times the compute it was fitted on."
    if score.cells > 2 and abs(score.bias_percent) > 0.95 * score.mean_abs_error_percent:
        side = "lower" if score.bias_percent > 0 else "higher"
        said += f" All lie on one side: measured {side} than the law says, so the law bends beyond its runs."
    body = f"{big}<p>{text(said)}</p>"
    inside = [cell.inside for cell in forecast.cells if cell.inside is not None]
    if inside:
        # As many as a binomial count of its size may miss; the forecast's own warning is stricter on bias.
        slack = 2 * np.sqrt(forecast.level * (1 - forecast.level) / len(inside))
        kind = "good" if score.coverage >= forecast.level - slack else "bad"
        verdict = f"{sum(inside)} of {len(inside)} inside their {forecast.level:.0%} interval"
        body += f'<p><span class="chip {kind}">{text(verdict)}</span></p>'
    worst = f"Largest error {score.max_abs_error_percent:.2g}%, mean signed error {score.bias_percent:+.2g}%"
    worst += f" (predicted minus measured). Held out: {forecast.rule}."
    how = f'<p class="fine">{text(worst)}</p>' + _rivals(forecast)
    return _card("held", "Held-out error", body + fold(how), name)


def _rivals(forecast) -> str:
    """Which laws make the forecast, and how much each weighs."""
    if len(forecast.rivals) < 2:
        return ""

    header = (("law", ""), ("one step earlier", ""), ("held out", ""))
    errors = [(r.law, r.earlier_error_percent, r.held_out_error_percent) for r in forecast.rivals]
    rows = [(law, *("–" if e is None else f"{e:.2g} %" for e in pair)) for law, *pair in errors]
    why = "The forecast is a blend of laws, which weigh by how well each forecast one step earlier, on the "
    why += "fitted runs alone:"
    return f'<p class="fine">{text(why)}</p>' + table(header, rows)


def _allocation(group: Group, several: bool) -> str:
    name = group.name if several else ""
    fit, best = group.fit, group.allocation
    if fit.exponents is None or best is None:
        why = group.refusals.get("allocation", f"the law {fit.law.name} does not split compute")
        return _card("split", "Where to spend compute", f"<p>{text(why)}.</p>", name)
    a, b = fit.exponents.params_exponent, fit.exponents.tokens_exponent
    body = f'<p class="big">{10**a:.1f}×<small>params</small> {10**b:.1f}×<small>tokens</small></p>'
    said = "is the best use of ten times the compute: params grow as compute to the power "
    said += f"{a:.2f}"
    if fit.exponents.interval is not None:
        ends = span(*fit.exponents.interval, lambda value: f"{value:.2f}")
        said += "" if ends == f"{a:.2f}" else f" ({ends})"  # a law may fix it
    others = []
    if group.isoflop is not None and group.isoflop.exponent is not None:
        others.append(f"{group.isoflop.exponent:.2f} by IsoFLOP minima")
    if group.envelope is not None and group.envelope.params_law is not None:
        others.append(f"{group.envelope.params_law.exponent:.2f} by the envelope of the runs")
    said += f"; {' and '.join(others)}." if others else "."
    here = f"At {power(best.flops)} FLOPs, the most that was trained: {count(best.params)} parameters"
    here += f" ({span(*best.intervals['params'], count)})" if "params" in best.intervals else ""
    here += f", {count(best.tokens)} tokens ({best.tokens / best.params:.3g} a parameter),"
    here += f" loss {plain(best.loss)}."
    wrong = next((d for d in best.deviations if d.factor == 2.0), None)
    if wrong is not None:
        here += f" Twice that size at the same compute wastes {wrong.extra_flops:.0%} of it."
    body += f"<p>{text(said)}</p><p>{text(here)}</p>"
    return _card("split", "Where to spend compute", body, name)


def _no_law(study: Study) -> str:
    reasons = [(group.name or "all runs", group.refusals.get("law", "")) for group in study.groups]
    alike: dict[str, list[str]] = {}
    for name, reason in [pair for pair in reasons if pair[1]] or [("all runs", "there are no runs yet")]:
        alike.setdefault(reason, []).append(name)
    body = "<p>No law was fitted, because the runs so far cannot determine one:</p>"
    body += items((", ".join(names), reason) for reason, names in alike.items())
    return _card("law wide", "The law", body)


def _abilities(study: Study) -> str:
    if not study.thresholds and not len(study.runs.ability_rows):
        return ""
    return _card("wide", "Abilities", abilities.body(study))


def _warnings(study: Study, wide: bool) -> str:
    notes = study.warnings
    if not notes:
        return ""
    rows = "".join(f"<li>{text(note.text)} <code>{text(note.code)}</code></li>" for note in notes)
    said = f"{len(notes)} remarks on what this table can and cannot tell"
    return _card("wide warn" if wide else "warn", "Read with care", fold(f"<ul>{rows}</ul>", said))
