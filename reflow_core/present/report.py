"""Reports: one HTML file that opens offline, prints, saves its figures as PNG and SVG, and can be opened again."""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from reflow_core.diagnosis.result import Diagnosis, Outcome, layer_json
from reflow_core.diagnosis.verdict import THRESHOLDS, verdict
from reflow_core.lab import codec
from reflow_core.lab.store import code_hash
from reflow_core.numbers import percent, whole_percent
from reflow_core.places import ASSETS
from reflow_core.present.crumbs import crumbs
from reflow_core.present.figures import Chart
from reflow_core.present.figures.collapse import accuracies, answered, ratios
from reflow_core.present.figures.findings import pictured
from reflow_core.present.figures.layers import channels, knowledge
from reflow_core.present.figures.learning import of_training
from reflow_core.present.snippets import command, diagnosing
from reflow_core.present.tables import as_html
from reflow_core.production.export import versions
from reflow_core.production.finding import Finding
from reflow_core.production.finding import outcome as outcome_of
from reflow_core.spec import Spec

TEMPLATE = ASSETS / "report.html"
MOST_ROWS = 2000  # of a table in a report
WITHOUT = "without"  # the fact of a finding that names the fields of its spec which say nothing of it

Result = Diagnosis | Finding


@dataclass(frozen=True, eq=False)
class Report:
    """What a report says. `answer`: its first sentence, `notes`: those below. `code`: how to get the numbers again,
    by language. `content`: hashes of the network and the images. `numbers`: variant, value and interval, as text.
    `result`: what can be opened again, if anything. `view`: what is seen, in a few words.
    """

    title: str
    answer: str
    spec: Spec
    content: str
    charts: Mapping[str, Chart] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    numbers: tuple[tuple[str, str, str], ...] = ()
    result: Result | None = None
    view: tuple[str, ...] = ()


def of_diagnosis(diagnosis: Diagnosis, content: str) -> Report:
    """The report of one diagnosis: verdict, accuracies, ratios, predictions, layers."""
    judged = verdict(diagnosis)
    weak_layer = next((layer for layer in diagnosis.layers if layer.name == judged.layer), None)
    charts = {
        "Accuracy": accuracies({"": diagnosis}),
        "Layer-wise variance ratio": ratios({"": diagnosis}, judged.layer),
        "Predictions by class": answered({"": diagnosis}),
        "Layer similarity to dense": knowledge(diagnosis, judged.layer),
        **of_training(diagnosis),
    }
    if weak_layer is not None:
        charts["Channels of one layer"] = channels(diagnosis, weak_layer)
    return Report(
        title=f"{judged.status.capitalize()}: {diagnosis.spec.model} at {whole_percent(diagnosis.sparsity)} sparsity",
        answer=judged.headline,
        spec=diagnosis.spec,
        content=content,
        charts=charts,
        tables=tables_of(diagnosis),
        notes=(
            *judged.evidence,
            *diagnosis.notes,
            *filter(None, (diagnosis.repair_report, diagnosis.reason)),
            THRESHOLDS,
        ),
        code={"Command line": command("diagnose", diagnosis.spec), "Python": diagnosing(diagnosis.spec)},
        numbers=tuple(
            (variant, percent(summary.score), _beside(diagnosis, variant, summary))
            for variant, summary in diagnosis.outcomes().items()
        ),
        result=diagnosis,
        view=crumbs(diagnosis.spec),
    )


def _beside(diagnosis: Diagnosis, variant: str, summary: Outcome) -> str:
    """What stands quietly beside an accuracy: its interval, and beside dense's the control."""
    interval = "" if summary.ci95 is None else _interval(summary.ci95, summary.n)
    control = f"recalibrated {percent(diagnosis.control.score)}" if variant == "dense" and diagnosis.control else ""
    return "; ".join(filter(None, (interval, control)))


def _interval(ci95: tuple[float, float], n: int) -> str:
    return f"95 % interval {percent(ci95[0])} to {percent(ci95[1])}, n = {n}"


def tables_of(diagnosis: Diagnosis) -> dict[str, pd.DataFrame]:
    """All that a diagnosis holds, as tables: variants, predictions by class, layers, and every image's prediction."""
    outcomes = diagnosis.outcomes() | ({} if diagnosis.control is None else {"control": diagnosis.control})
    variants = pd.DataFrame([_variant_row(name, outcome) for name, outcome in outcomes.items()])
    counts = {variant: diagnosis.outcome(variant).histogram for variant in diagnosis.predictions}
    columns: dict[str, object] = {} if diagnosis.labels is None else {"label": diagnosis.labels}
    for variant, predictions in diagnosis.predictions.items():
        columns |= {f"{variant} prediction": predictions.predicted, f"{variant} confidence": predictions.confidence}
    return {
        "Variants": variants,
        "Predictions by class": pd.DataFrame({"class": diagnosis.classes, **counts}),
        "Layers": pd.json_normalize([layer_json(layer) for layer in diagnosis.layers]).drop(
            columns=[f"dead_channels.{variant}" for variant in diagnosis.predictions], errors="ignore"
        ),
        "Images": pd.DataFrame(columns).rename_axis("image").reset_index(),
    }


def _variant_row(name: str, outcome: Outcome) -> dict[str, object]:
    low, high = outcome.ci95 or (None, None)
    return {
        "variant": name,
        "accuracy": outcome.accuracy,
        "low": low,
        "high": high,
        "n": outcome.n,
        "agreement with dense": outcome.agreement,
        "effective classes": outcome.effective_classes,
        "top share": outcome.top_share,
    }


def of_finding(
    finding: Finding,
    title: str,
    content: str,
    code: Mapping[str, str],
    charts: Mapping[str, Chart] | None = None,
    without: Collection[str] = (),
) -> Report:
    """The report of a finding. `charts`: figures by heading; without them, the figures of its tables.

    `without`: fields of the spec that say nothing of it; the report remembers them for when it is opened again.
    """
    machine = (f"Measured on: {finding.machine}.",) if finding.machine else ()
    return Report(
        title=": ".join(filter(None, (title, outcome_of(finding)))),
        answer=finding.answer,
        spec=finding.spec,
        content=content,
        charts=pictured(finding) if charts is None else charts,
        tables=finding.tables,
        notes=(*finding.notes, *machine),
        code=code,
        result=dataclasses.replace(finding, facts={**finding.facts, WITHOUT: sorted(without)}),
        view=crumbs(finding.spec, without),
    )


def seen_in(result: Result) -> tuple[str, ...]:
    """What is seen in a report that was opened again, in a few words; of a stranger's finding, as far as it says."""
    if isinstance(result, Diagnosis):
        return crumbs(result.spec)
    without = result.facts.get(WITHOUT)
    return crumbs(result.spec, without if isinstance(without, list) else ("sparsity", "criterion", "repair"))


def written(report: Report) -> str:
    """The report as one HTML file."""
    return Template(TEMPLATE.read_text()).substitute(
        title=html.escape(report.title),
        date=date.today().isoformat(),
        answer=html.escape(report.answer),
        view=html.escape(" · ".join(report.view)),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in report.notes),
        numbers="".join(map(_number, report.numbers)),
        figures="".join(_figure(place, title, chart) for place, (title, chart) in enumerate(report.charts.items())),
        tables="".join(_table(title, table) for title, table in report.tables.items()),
        spec=_rows({name: str(value) for name, value in report.spec.to_dict().items()}),
        made=_rows(made_with(report.content)),
        code="".join(
            f"<h3>{html.escape(name)}</h3><pre>{html.escape(text)}</pre>" for name, text in report.code.items()
        ),
        plotly=_plotly() if report.charts else "",
        payload="" if report.result is None else base64.b64encode(codec.encode(report.result)).decode(),
    )


def made_with(content: str) -> dict[str, str]:
    """Versions and hashes that a result depends on."""
    return versions() | {"reflow_core (SHA-256 of its source)": code_hash(), "network : images": content}


@functools.cache
def _plotly() -> str:
    """Plotly's library, escaped for a script element."""
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _number(number: tuple[str, str, str]) -> str:
    variant, value, interval = map(html.escape, number)
    return f'<div class="number {variant}"><h3>{variant}</h3><strong>{value}</strong><span>{interval}</span></div>'


def _figure(place: int, title: str, chart: Chart) -> str:
    drawing = chart.figure.to_json().replace("</", "<\\/")
    message, title = html.escape(chart.message), html.escape(title)
    return (
        f'<figure><h2>{title}</h2><div class="plot" id="plot{place}" role="img" aria-label="{message}"></div>'
        f'<script type="application/json" data-plot="plot{place}">{drawing}</script><figcaption>{message}</figcaption>'
        f'<p class="save"><button data-save="png">PNG</button><button data-save="svg">SVG</button></p></figure>'
    )


def _table(title: str, table: pd.DataFrame) -> str:
    written_out = as_html(table.head(MOST_ROWS))
    omitted = f"<p>The first {MOST_ROWS} of {len(table)} rows.</p>" if len(table) > MOST_ROWS else ""
    return f"<details><summary>{html.escape(title)} ({len(table)} rows)</summary>{written_out}{omitted}</details>"


def _rows(values: Mapping[str, str]) -> str:
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in values.items())
    return f"<table>{''.join(cells)}</table>"
