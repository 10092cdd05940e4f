"""What the README and the documents tell people to write is written and run, in a checkout of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.browser import ROOT

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CUT = "-- cut --"
BLOCK = re.compile(r"```python\n# (.+?)\n(.*?)```", re.DOTALL)
COMMAND_LINES = (
    ["diagnose", "--criterion", "squared", "--repair", "double-gamma"],
    ["diagnose", "--criterion", "magnitude", "--repair", "none"],
    ["diagnose", "--model", "mine.py:network", "--data", "digits"],
    ["zeros", "--sparsity", "0.5"],
)
COMMANDS = f"""
from reflow_core.cli import main
for words in {COMMAND_LINES}:
    assert main([*words, "--evaluation", "32", "--json"]) == 0
"""
LINES = {"five lines": 5, "ten lines": 10, "three calls": 20}
PAGE = """
import json
from reflow_core.diagnosis import preflight
from streamlit.testing.v1 import AppTest
preflight.WARM_UP_S = 60.0
app = AppTest.from_file("pages/_entrance.py", default_timeout=90)
for name, value in {"evaluation_images": "32", "calibration_images": "16", "criterion": "squared"}.items():
    app.query_params[name] = value
app.run()
app.switch_page("how_many.py").run()
headings = [each.value for each in app.main.subheader]
print(json.dumps([len(app.exception), headings, app.selectbox(key="criterion").value]))
"""


def blocks() -> list[tuple[str, str]]:
    """The first line of each block of Python, without its "# ", and the rest."""
    return [block for document in DOCUMENTS for block in BLOCK.findall(document.read_text())]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every file of the documents written into it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("reflow_core", "pages", "assets", ".streamlit"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "pictures"))
    shutil.copy(ROOT / "app.py", folder)
    for name, text in blocks():
        if name.endswith(".py"):
            assert not (folder / name).exists()
            (folder / name).write_text(text.lstrip("\n"))
    return folder


@pytest.fixture(scope="module")
def printed(checkout: Path) -> dict[str, list[str]]:
    """What a Python of its own prints there, line by line: for both examples, the commands and the page."""
    named = {words: text for name, text in blocks() for words in LINES if words in name}
    assert all(len([line for line in named[words].splitlines() if line]) <= most for words, most in LINES.items())
    parts = {**named, "commands": COMMANDS, "page": PAGE}
    script = "".join(
        f"print({name!r}, {CUT!r})\nexec({code!r}, {{}})\nprint({CUT!r})\n" for name, code in parts.items()
    )
    environment = os.environ | {"REFLOW_CACHE": str(checkout / "cache"), "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    pieces = [piece.strip() for piece in done.stdout.split(CUT)]
    return {name: text.splitlines() for name, text in zip(pieces[::2], pieces[1::2], strict=False)}


def test_the_criterion_the_repair_the_inspection_and_the_model_work_on_the_command_line(
    printed: dict[str, list[str]],
) -> None:
    doubled, usual, own, zeros = map(json.loads, printed["commands"])
    assert zeros["zeros"]["answer"] == f"{round(0.5 * doubled['weights'])} weights are zero."
    assert doubled["pruned"] == usual["pruned"], "squares order weights as magnitudes do"
    assert doubled["repair"] == "Scale of 19 BatchNorm layers doubled."
    first = doubled["layers"][0]["variance_ratio"]
    assert first["repaired"] == pytest.approx(4 * first["pruned"], rel=1e-4)
    assert own["repaired"]["n"] == 32 and own["layers"][0]["name"] == "1"


def test_the_page_is_there_and_the_criterion_is_offered(printed: dict[str, list[str]]) -> None:
    assert json.loads(printed["page"][-1]) == [0, ["How many of each?"], "squared"]


def test_the_library_in_ten_lines(printed: dict[str, list[str]]) -> None:
    lines = printed["ten lines"]
    dense, pruned, repaired = map(float, lines[0].split())
    assert dense > 0.98 and pruned < 0.2 and repaired > 0.9
    assert len(lines) == 1 + 19 + 1 and lines[-1].startswith("BatchNorm's stored standard deviation")


def test_any_network_in_three_calls(printed: dict[str, list[str]]) -> None:
    *rows, summary = printed["three calls"]
    assert len(rows) == 19 and float(rows[-1].split()[1]) < 0.2
    assert summary == "Running mean and variance of 19 BatchNorm layers, from 256 images."


def test_five_lines_of_python(printed: dict[str, list[str]]) -> None:
    accuracies, ratios = printed["five lines"]
    pruned, repaired = map(float, accuracies.split())
    assert pruned < 0.2 < 0.9 < repaired and len(json.loads(ratios)) == 19


def test_every_command_of_the_documents_exists() -> None:
    from reflow_core.cli import parser

    text = "".join(document.read_text() for document in DOCUMENTS)
    commands = re.findall(r"^    (?:python -m reflow_core|reflow-lab) (\w+)", text, re.MULTILINE)
    offered = parser().format_help()
    assert len(commands) > 20 and all(re.search(rf"^ +{name}\b", offered, re.MULTILINE) for name in commands)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    """To a file, and to a heading where one is named. Addresses elsewhere are not asked."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


def headings(document: Path) -> set[str]:
    """As GitHub links to them."""
    lines = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 600
    assert [document.name for document in DOCUMENTS[1:] if f"docs/{document.name}" not in text] == []
