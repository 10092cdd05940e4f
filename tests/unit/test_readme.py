"""What the README tells people to write is written and run, in a checkout of its own."""

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

BLOCK = re.compile(r"```python\n# (.+?)\n(.*?)```", re.DOTALL)
COMMANDS = """
import json, sys
from reflow_core.cli import main
for words in json.loads(sys.argv[1]):
    assert main([*words, "--evaluation", "32", "--json"]) == 0
"""
PAGE = """
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("app.py", default_timeout=90)
for name, value in {"evaluation_images": "32", "calibration_images": "16", "criterion": "squared"}.items():
    app.query_params[name] = value
app.run()
app.switch_page("pages/how_many.py").run()
print(json.dumps([len(app.exception), [each.value for each in app.subheader], app.selectbox(key="criterion").value]))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every file of the README written into it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("reflow_core", "pages", "assets", ".streamlit"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "pictures"))
    shutil.copy(ROOT / "app.py", folder)
    for name, text in BLOCK.findall((ROOT / "README.md").read_text()):
        if name.endswith(".py"):
            assert not (folder / name).exists()
            (folder / name).write_text(text.lstrip("\n"))
    return folder


def run(checkout: Path, *words: str) -> str:
    """What a Python of its own prints there."""
    environment = os.environ | {"REFLOW_CACHE": str(checkout / "cache"), "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_criterion_the_repair_the_inspection_and_the_model_work_on_the_command_line(checkout: Path) -> None:
    asked = (
        ["diagnose", "--criterion", "squared", "--repair", "double-gamma"],
        ["diagnose", "--criterion", "magnitude", "--repair", "none"],
        ["diagnose", "--model", "mine.py:network", "--data", "digits"],
        ["zeros", "--sparsity", "0.5"],
    )
    found, usual, own, zeros = map(json.loads, run(checkout, "-c", COMMANDS, json.dumps(asked)).splitlines())
    assert zeros["zeros"]["answer"] == f"{round(0.5 * found['weights'])} weights are zero."
    assert found["pruned"] == usual["pruned"], "squares order weights as magnitudes do"
    assert found["repair"] == "Scale of 19 BatchNorm layers doubled."
    first = found["layers"][0]["variance_ratio"]
    assert first["repaired"] == pytest.approx(4 * first["pruned"], rel=1e-4)
    assert own["repaired"]["n"] == 32 and own["layers"][0]["name"] == "1"


def test_the_page_is_there_and_the_criterion_is_offered(checkout: Path) -> None:
    assert json.loads(run(checkout, "-c", PAGE).splitlines()[-1]) == [0, ["How many of each?"], "squared"]


def test_the_library_in_ten_lines(checkout: Path) -> None:
    (example,) = [text for name, text in BLOCK.findall((ROOT / "README.md").read_text()) if "ten lines" in name]
    assert len([line for line in example.splitlines() if line]) <= 10
    printed = run(checkout, "-c", example).splitlines()
    dense, pruned, repaired = map(float, printed[0].split())
    assert dense > 0.98 and pruned < 0.2 and repaired > 0.9
    assert len(printed) == 1 + 19 + 1 and printed[-1].startswith("The deviation that BatchNorm stored")


def test_any_network_in_three_calls(checkout: Path) -> None:
    (example,) = [text for name, text in BLOCK.findall((ROOT / "README.md").read_text()) if "three calls" in name]
    *rows, summary = run(checkout, "-c", example).splitlines()
    assert len(rows) == 19 and float(rows[-1].split()[1]) < 0.2
    assert summary == "Running mean and variance of 19 BatchNorm layers, from 256 images."


def test_every_command_and_every_picture_of_the_readme_exists() -> None:
    from reflow_core.cli import parser

    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^    python -m reflow_core (\w+)", text, re.MULTILINE)
    offered = parser().format_help()
    assert len(commands) > 15 and all(re.search(rf"^ +{name}\b", offered, re.MULTILINE) for name in commands)
    linked = re.findall(r"\]\(((?:assets|tests)/[^)]+)\)", text)
    assert linked and [name for name in linked if not (ROOT / name).exists()] == []
