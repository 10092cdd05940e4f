"""The command line is a contract that others script against."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from reflow_core.cli import main

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--evaluation", "64", "--calibration", "32"]
TINY = ["--evaluation", "24", "--calibration", "16"]


def test_diagnose_prints_one_json_object_and_nothing_else() -> None:
    command = [sys.executable, "-m", "reflow_core", "diagnose", "--model", "resnet20-digits", "--sparsity", "0.8"]
    done = subprocess.run([*command, *SMALL, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["spec"]["sparsity"] == 0.8 and told["sparsity"] == pytest.approx(0.8, abs=1e-5)
    assert {"spec", "dense", "pruned", "repaired", "reason", "sparsity", "layers", "seconds"} <= told.keys()
    for variant in ("dense", "pruned", "repaired"):
        assert {"accuracy", "n", "ci95", "histogram", "entropy"} <= told[variant].keys()
        assert sum(told[variant]["histogram"]) == told[variant]["n"] == 64
    assert len(told["layers"]) == 19
    for row in told["layers"]:
        assert {"name", "kind", "sparsity", "variance_ratio", "cka", "cosine", "eps_floor"} <= row.keys()
        assert row["variance_ratio"].keys() == {"pruned", "repaired"}


def test_without_a_repair_the_reason_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", *SMALL[:2], "--repair", "none", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["repaired"] is None and told["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diagnose", "--sparsity", "7"], "sparsity=7"),
        (["diagnose", "--sparsity", "x"], "sparsity='x'"),
        (["diagnose", "--model", "resnet20-digit"], "did you mean 'resnet20-digits'"),
        (["diagnose", "--repair", "refow"], "did you mean 'reflow'"),
        (["diagnose", "--criterion", "magnitud"], "did you mean 'magnitude'"),
        (["diagnose", "--allocation", "globl"], "did you mean 'global'"),
        (["diagnose", "--data", "digts"], "did you mean 'digits'"),
        (["diagnose", "--checkpoint", "absent.pt"], "absent.pt"),
        (["diagnose", "--nonsense"], "--nonsense"),
        (["diagnose", "--model", "resnet20-cifar10"], "download resnet20-cifar10"),
        (["sweep", "--sparsities", "1:0"], "1:0"),
        (["sweep", "--out", "results.txt"], ".txt"),
        (["sweep", "--out", "absent/results.csv"], "no folder 'absent'"),
        (["sweep", "--criteria", "magnitud"], "did you mean 'magnitude'"),
        (["sweep", "--models", "resnet20-digts"], "did you mean 'resnet20-digits'"),
        (["sweep", "--models", "vgg-digits", "--checkpoint", "x.pt"], "one --model"),
        (["sweep", "--seeds", "0"], "seeds=0"),
        (["train", "resnet20-cifar10"], "public weights"),
        (["download", "resnet"], "Unknown download"),
        (["unknown"], "unknown"),
        ([], "--help"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err and told.err.count("\n") == 1


def test_sweep_writes_a_table_with_a_row_a_sparsity(tmp_path: Path) -> None:
    for name, read in (("a.csv", pd.read_csv), ("a.json", pd.read_json), ("a.parquet", pd.read_parquet)):
        assert main(["sweep", *SMALL, "--sparsities", "0:0.9:0.3", "--out", str(tmp_path / name)]) == 0
        table = read(tmp_path / name)
        assert list(table.sparsity) == pytest.approx([0, 0.3, 0.6, 0.9])
        assert table.pruned_accuracy.iloc[0] == table.dense_accuracy.iloc[0]


def test_sweep_takes_many_arms_and_tells_what_does_not_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow_core.pruning.criteria.synflow.STEPS", 5)  # where it prunes is looked at elsewhere
    variants = [
        "--models",
        "vgg-digits,convnext-digits",
        "--criteria",
        "magnitude,synflow",
        "--repairs",
        "none,reflow",
    ]
    out = tmp_path / "variants.parquet"
    assert main(["sweep", *TINY, *variants, "--sparsities", "0.5,0.8", "--seeds", "2", "--out", str(out)]) == 0
    table = pd.read_parquet(out)
    assert (
        len(table) == 2 * 2 * 2 * 2 * 2
        and not table.duplicated(["model", "criterion", "repair", "sparsity", "seed"]).any()
    )
    refused = table[table.pruned_accuracy.isna()]
    assert set(refused.criterion) == {"synflow"} and set(refused.model) == {"convnext-digits"}
    assert refused.reason.str.contains("fixed scale").all()
    done = table[(table.model == "vgg-digits") & (table.repair == "reflow")]
    assert done.repaired_accuracy.notna().all() and (done.seconds_select >= 0).all()


def test_a_pattern_is_one_point_of_a_sweep(tmp_path: Path) -> None:
    assert main(["sweep", *SMALL, "--pattern", "2:4", "--out", str(tmp_path / "a.csv")]) == 0
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 1 and table.reached[0] == pytest.approx(0.5, abs=0.001)


def test_models_lists_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["resnet20-digits"]["here"] and not rows["resnet20-cifar10"]["here"]


def test_training_is_reproducible_and_writes_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("one", "two"):
        assert main(["train", "convnext-digits", "--epochs", "1", "--out", str(tmp_path / part)]) == 0
    cards = [json.loads((tmp_path / part / "convnext-digits.json").read_text()) for part in ("one", "two")]
    assert cards[0] == cards[1]
    assert {"training_view", "evaluation_view", "split_seed", "accuracy", "versions", "sha256"} <= cards[0].keys()


def test_the_server_and_the_pages_never_import_torch() -> None:
    for file in (ROOT / "app.py", *(ROOT / "pages").rglob("*.py")):
        imports = [
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = [alias.name for node in imports for alias in node.names] + [
            getattr(n, "module", "") or "" for n in imports
        ]
        assert not {name.split(".")[0] for name in names} & {"torch", "torchvision"}, file
