"""The handout: the lesson on paper, with exercises, and with answers and notes for the teacher."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from string import Template

from latex2mathml.converter import convert

from reflow_core.diagnosis.verdict import judged_on
from reflow_core.places import ASSETS
from reflow_core.present.lesson import STEPS, TERM, Seen, Step
from reflow_core.present.lesson.glossary import GLOSSARY

TEMPLATE = ASSETS / "handout.html"
BOLD = re.compile(r"\*\*([^*]+)\*\*|\*([^*]+)\*")


def handout(seen: Sequence[Seen], teacher: bool = False) -> str:
    """One HTML file to print. `seen`: of every step, in order. `teacher`: with answers and notes at the end."""
    spec = seen[0].diagnosis.spec
    numbered = list(zip(range(1, len(STEPS) + 1), STEPS, seen, strict=True))
    steps = [_step(*step) for step in numbered]
    answers = [_answer(*step) for step in numbered]
    terms = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(GLOSSARY[term])}</dd>" for term in sorted(GLOSSARY))
    return Template(TEMPLATE.read_text()).substitute(
        network=html.escape(spec.model),
        images=f"{judged_on(seen[0].diagnosis)} of {html.escape(seen[0].diagnosis.data)}",
        steps="".join(steps),
        answers=f"<section class='answers'><h1>Answers and notes</h1>{''.join(answers)}</section>" if teacher else "",
        glossary=terms,
    )


def plain(text: str) -> str:
    """A lesson's text as HTML without explanations: terms in italics."""
    return lettered(text, lambda term, shown: f"<i>{shown}</i>")


def lettered(text: str, explained: Callable[[str, str], str]) -> str:
    """A lesson's text as HTML, bold and italics as written. `explained`: (term, as shown) -> HTML of a marked word."""
    marked = TERM.sub(lambda match: explained(match[1], match[2] or match[1]), html.escape(text, quote=False))
    return BOLD.sub(lambda match: f"<b>{match[1]}</b>" if match[1] else f"<i>{match[2]}</i>", marked)


def _step(number: int, step: Step, seen: Seen) -> str:
    return (
        f"<section><h2>{number}. {html.escape(step.title)}</h2><p>{plain(step.opening(seen))}</p>"
        f"<p class='ask'><b>Predict:</b> {html.escape(step.question.asks)} <span class='blank'></span></p>"
        f"<p class='formula'>{convert(step.formula.latex)}</p>"
        f"<p class='small'>{html.escape(step.formula.words)} {html.escape(step.formula.source)}</p>"
        f"<p class='ask'><b>Exercise:</b> {html.escape(step.exercise)}</p><div class='lines'></div></section>"
    )


def _answer(number: int, step: Step, seen: Seen) -> str:
    return (
        f"<h2>{number}. {html.escape(step.title)}</h2>"
        f"<p><b>Prediction:</b> {step.question.shown(step.question.truth(seen))}. {plain(step.reveal(seen))}</p>"
        f"<p><b>Exercise:</b> {plain(step.answer(seen))}</p>"
        f"<p class='small'>For the teacher: {html.escape(step.notes)}</p>"
    )
