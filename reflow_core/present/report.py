"""Reports: one HTML file that opens offline, prints, gives its figures as PNG and SVG, and can be opened again."""

from __future__ import annotations

import base64
import binascii
import functools
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from reflow_core.diagnosis.result import Diagnosis, Outcome, layer_json
from reflow_core.diagnosis.verdict import THRESHOLDS, percent, verdict
from reflow_core.errors import ReflowError
from reflow_core.lab import codec
from reflow_core.lab.store import code_hash
from reflow_core.machine import ASSETS
from reflow_core.present.figures import Chart
from reflow_core.present.figures.collapse import accuracies, answered, ratios
from reflow_core.present.figures.findings import pictured
from reflow_core.present.figures.layers import channels, knowledge
from reflow_core.present.snippets import command, diagnosing
from reflow_core.production.export import versions
from reflow_core.production.finding import Finding
from reflow_core.spec import Spec

TEMPLATE = ASSETS / "report.html"
PAYLOAD = re.compile(r'<script type="application/x-reflow-lab" id="result">([A-Za-z0-9+/=\s]*)</script>')
LARGEST = 32 << 20  # bytes of a report that is opened again; plotly's own library is five of them
MOST_ROWS = 2000  # of a table that is written out

Found = Diagnosis | Finding


@dataclass(frozen=True, eq=False)
class Report:
    """What a report says. `answer`: its first sentence, `notes` those below. `code`: how to get the numbers again,
    by language. `content`: hashes of the network and the images. `found`: what can be opened again, if anything."""

    title: str
    answer: str
    spec: Spec
    content: str
    charts: Mapping[str, Chart] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    numbers: tuple[tuple[str, str, str], ...] = ()
    found: Found | None = None


def of_diagnosis(found: Diagnosis, content: str) -> Report:
    """The report of one diagnosis: verdict, accuracies, ratios, predictions, layers."""
    judged = verdict(found)
    chosen = next((layer for layer in found.layers if layer.name == judged.layer), None)
    charts = {
        "Accuracy": accuracies({"": found}),
        "Layer-wise variance ratio": ratios({"": found}, judged.layer),
        "The collapse plot": answered({"": found}),
        "What each layer still knows": knowledge(found, judged.layer),
    }
    if chosen is not None:
        charts["One layer, channel by channel"] = channels(found, chosen)
    return Report(
        title=f"{judged.status.capitalize()}: {found.spec.model} at {100 * found.sparsity:.0f} % sparsity",
        answer=judged.headline,
        spec=found.spec,
        content=content,
        charts=charts,
        tables=tables_of(found),
        notes=(*judged.evidence, *found.notes, *filter(None, (found.repair_report, found.reason)), THRESHOLDS),
        code={"Command line": command("diagnose", found.spec), "Python": diagnosing(found.spec)},
        numbers=tuple(
            (variant, percent(summary.score), "" if summary.ci95 is None else _interval(summary.ci95, summary.n))
            for variant, summary in found.outcomes().items()
        ),
        found=found,
    )


def _interval(ci95: tuple[float, float], n: int) -> str:
    return f"95 % interval {percent(ci95[0])} to {percent(ci95[1])}, n = {n}"


def tables_of(found: Diagnosis) -> dict[str, pd.DataFrame]:
    """All that a diagnosis holds, as tables: variants, predictions by class, layers, and every image's prediction."""
    variants = pd.DataFrame([_variant_row(name, outcome) for name, outcome in found.outcomes().items()])
    counts = {variant: found.outcome(variant).histogram for variant in found.predictions}
    each: dict[str, object] = {} if found.labels is None else {"label": found.labels}
    for variant, own in found.predictions.items():
        each |= {f"{variant} prediction": own.predicted, f"{variant} confidence": own.confidence}
    return {
        "Variants": variants,
        "Predictions by class": pd.DataFrame({"class": found.classes, **counts}),
        "Layers": pd.json_normalize([layer_json(layer) for layer in found.layers]).drop(
            columns=[f"dead_channels.{variant}" for variant in found.predictions], errors="ignore"
        ),
        "Images": pd.DataFrame(each).rename_axis("image").reset_index(),
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
    found: Finding, title: str, content: str, code: Mapping[str, str], charts: Mapping[str, Chart] | None = None
) -> Report:
    """The report of a finding; `charts`: figures by heading, those of its tables unless given."""
    passed = {True: ("Passed",), False: ("Failed",), None: ()}[found.passed]
    machine = (f"Measured on: {found.machine}.",) if found.machine else ()
    return Report(
        title=": ".join((title, *passed)),
        answer=found.answer,
        spec=found.spec,
        content=content,
        charts=pictured(found) if charts is None else charts,
        tables=found.tables,
        notes=(*found.notes, *machine),
        code=code,
        found=found,
    )


def written(report: Report) -> str:
    """The report as one HTML file."""
    return Template(TEMPLATE.read_text()).substitute(
        title=html.escape(report.title),
        date=date.today().isoformat(),
        answer=html.escape(report.answer),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in report.notes),
        numbers="".join(map(_number, report.numbers)),
        figures="".join(_figure(place, *each) for place, each in enumerate(report.charts.items())),
        tables="".join(_table(title, table) for title, table in report.tables.items()),
        spec=_rows({name: str(value) for name, value in report.spec.to_dict().items()}),
        made=_rows(made_with(report.content)),
        code="".join(
            f"<h3>{html.escape(name)}</h3><pre>{html.escape(text)}</pre>" for name, text in report.code.items()
        ),
        plotly=_plotly() if report.charts else "",
        payload="" if report.found is None else base64.b64encode(codec.encode(report.found)).decode(),
    )


def made_with(content: str) -> dict[str, str]:
    """Versions and hashes that a result depends on."""
    return versions() | {"reflow_core (SHA-256 of its source)": code_hash(), "network : images": content}


@functools.cache
def _plotly() -> str:
    """Plotly's library, to be put into a script element."""
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _number(number: tuple[str, str, str]) -> str:
    variant, value, interval = map(html.escape, number)
    return f'<div class="number {variant}"><h3>{variant}</h3><strong>{value}</strong><span>{interval}</span></div>'


def _figure(place: int, title: str, chart: Chart) -> str:
    drawn = chart.figure.to_json().replace("</", "<\\/")
    message, title = html.escape(chart.message), html.escape(title)
    return (
        f'<figure><h2>{title}</h2><div class="plot" id="plot{place}" role="img" aria-label="{message}"></div>'
        f'<script type="application/json" data-plot="plot{place}">{drawn}</script><figcaption>{message}</figcaption>'
        f'<p class="save"><button data-save="png">PNG</button><button data-save="svg">SVG</button></p></figure>'
    )


def _table(title: str, table: pd.DataFrame) -> str:
    written_out = table.head(MOST_ROWS).to_html(index=False, border=0, na_rep="–", float_format="{:.4g}".format)
    left = f"<p>The first {MOST_ROWS} of {len(table)} rows.</p>" if len(table) > MOST_ROWS else ""
    return f"<details><summary>{html.escape(title)} ({len(table)} rows)</summary>{written_out}{left}</details>"


def _rows(values: Mapping[str, str]) -> str:
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in values.items())
    return f"<table>{''.join(cells)}</table>"


def reopened(text: str, name: str) -> Found:
    """What the text of a report holds; only that is read, none of its HTML. Raises ReflowError for any other text."""
    if (kept := PAYLOAD.search(text)) is None or not kept[1].strip():
        raise ReflowError(f"{name!r} is no report of the lab that can be opened again; choose one that was made here.")
    try:
        return codec.decode(base64.b64decode(kept[1], validate=True))
    except (ValueError, KeyError, TypeError, binascii.Error, ReflowError) as error:
        raise ReflowError(f"The result in {name!r} is damaged or of another version of the lab ({error}).") from error
