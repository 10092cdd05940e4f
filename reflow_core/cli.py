"""The command line: the same specs, the same results, for scripts and servers.

stdout carries the result and nothing else; progress and errors go to stderr. Exit 2 with one line for bad input.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import torch
from tqdm import tqdm

from reflow_core import library as shelves
from reflow_core.access import EVERYTHING
from reflow_core.allocations import allocations
from reflow_core.calibration import evaluation_inputs
from reflow_core.criteria import criteria
from reflow_core.diagnose import settle
from reflow_core.errors import ReflowError, unknown
from reflow_core.library import Library
from reflow_core.machine import devices, prepare
from reflow_core.models.catalogue import find, known
from reflow_core.models.hub import is_timm
from reflow_core.repairs import repairs
from reflow_core.result import Diagnosis, to_json
from reflow_core.spec import DEFAULTS, MAX_SPARSITY, Spec, parted
from reflow_core.store import Store
from reflow_core.study import arms, markdown, row
from reflow_core.train import RECIPES, Recipe, save, train
from reflow_core.updates import updates
from reflow_core.verdict import percent, verdict
from reflow_core.work import answer, cluster, solve, threads

EXAMPLES = """examples:
  python -m reflow_core diagnose --model resnet20-digits --sparsity 0.8
  python -m reflow_core diagnose --model vgg-digits --sparsity 0.9 --repair none --json
  python -m reflow_core diagnose --model resnet20-cifar10 --data FOLDER --checkpoint FILE.pth --json
  python -m reflow_core sweep --model resnet20-digits --sparsities 0:0.99:0.05 --out results.csv
  python -m reflow_core sweep --criteria magnitude,snip --repairs none,reflow --seeds 3 --out results.parquet
  python -m reflow_core download resnet20-cifar10
  python -m reflow_core train resnet20-digits --out FOLDER
  python -m reflow_core models
"""
OPTIONS = {
    "model": ("--model", "a network's name, or ARCHITECTURE@FILE for other weights; 'models' lists them"),
    "data": ("--data", "an image set's name, a folder with train/CLASS/*.png and test/CLASS/*.png, or an .npz file"),
    "criterion": ("--criterion", f"how weights are scored: {', '.join(criteria.names())}"),
    "update": ("--update", f"what the weights that are left do about it: {', '.join(updates.names())}"),
    "allocation": ("--allocation", f"how the sparsity is spread over the layers: {', '.join(allocations.names())}"),
    "pattern": ("--pattern", "unstructured, or N:M, which fixes the sparsity: 2:4, 1:4, 4:8"),
    "sparsity": ("--sparsity", "fraction of the weights removed, 0 to 0.99"),
    "layer_sparsity": ("--layer-sparsity", "for --allocation custom, as conv1:0.5,linear:0.9"),
    "exclude": ("--exclude", "layers kept dense: none, first, classifier, both"),
    "repair": ("--repair", f"what is done about it: {', '.join(repairs.names())}"),
    "statistics": ("--statistics", "REFLOW's estimate: population, pooled, batch_mean, ema"),
    "calibration_images": ("--calibration", "training images to calibrate on"),
    "calibration_view": ("--calibration-view", "train (augmented as in training) or eval"),
    "calibration_batch": ("--calibration-batch", "images a batch for pooled, batch_mean and ema"),
    "calibration_skew": ("--calibration-skew", "share of the calibration images taken from one class, 0 to 1"),
    "evaluation_images": ("--evaluation", "images to evaluate on"),
    "seed": ("--seed", "draws the images, the augmentation and random scores"),
}


PLURALS = {"models": "model", "criteria": "criterion", "updates": "update", "repairs": "repair"}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of ours."""

    def error(self, message: str) -> NoReturn:
        """Raises ReflowError, which `main` prints."""
        raise ReflowError(f"{message}; see 'python -m reflow_core --help'.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        options = parser().parse_args(arguments)
        options.run(options)
    except ReflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: {error.filename or 'file'}: {error.strerror or error}; check the path and its rights.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; what is done is kept.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="python -m reflow_core",
        description="Watch a network collapse under pruning, and REFLOW bring it back.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="command", parser_class=Parser)
    one = commands.add_parser("diagnose", help="prune, measure, repair and measure again")
    _add_spec(one, tuple(OPTIONS))
    one.add_argument("--json", action="store_true", help="one JSON object on stdout")
    one.set_defaults(run=_diagnose)
    many = commands.add_parser("sweep", help="the same at many sparsities; resumes where it was stopped")
    _add_spec(many, tuple(name for name in OPTIONS if name != "sparsity"))
    for plural, single in PLURALS.items():
        many.add_argument(f"--{plural}", type=_listed, help=f"several, with commas; instead of --{single}")
    many.add_argument("--seeds", type=int, default=1, help="repeats, each with the next seed (default: 1)")
    many.add_argument("--cluster", help="a Dask cluster: tcp://HOST:PORT, or local (needs the package distributed)")
    many.add_argument("--sparsities", default="0:0.99:0.05", help="FROM:TO:STEP, or values with commas")
    many.add_argument("--out", type=Path, help="a .csv, .json, .parquet or .md file; CSV on stdout without it")
    many.set_defaults(run=_sweep)
    known = commands.add_parser("models", help="the networks known by name")
    known.add_argument("--json", action="store_true", help="one JSON list on stdout")
    known.set_defaults(run=_models)
    get = commands.add_parser("download", help="fetch public weights and their data set")
    get.add_argument("name")
    get.set_defaults(run=_download)
    learn = commands.add_parser("train", help="train a network that ships, from its seed")
    learn.add_argument("name")
    learn.add_argument("--out", type=Path, default=shelves.SHIPPED, help="folder for the weights and their card")
    learn.add_argument("--epochs", type=int, help="instead of the recipe's")
    learn.set_defaults(run=_train)
    return top


def _add_spec(command: argparse.ArgumentParser, names: Sequence[str]) -> None:
    for name in names:
        flag, text = OPTIONS[name]
        command.add_argument(flag, dest=name, default=DEFAULTS[name], help=f"{text} (default: {DEFAULTS[name]})")
    command.add_argument("--device", choices=devices(), default=devices()[0], help="(default: %(default)s)")
    command.add_argument("--checkpoint", type=Path, help="a state dict to load into the named model")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _spec(options: argparse.Namespace) -> Spec:
    spec = Spec(**{name: getattr(options, name) for name in OPTIONS if hasattr(options, name)})
    Library(EVERYTHING).info(parted(spec.model)[0])
    return spec if options.checkpoint is None else spec.replace(model=f"{spec.model}@{options.checkpoint.resolve()}")


@contextmanager
def _store() -> Iterator[Store]:
    """The store; what is wrong with it is told at once, or at the end if it went wrong meanwhile."""
    store = Store()
    if told := store.problem:
        print(f"note: {told}", file=sys.stderr)
    yield store
    if store.problem not in (None, told):
        print(f"note: {store.problem}", file=sys.stderr)


def _diagnose(options: argparse.Namespace) -> None:
    spec = _spec(options)
    prepare()
    with _store() as store:
        found = answer(spec, Library(EVERYTHING, device=options.device), store)
    print(json.dumps(to_json(found), allow_nan=False) if options.json else as_text(found))


def as_text(found: Diagnosis) -> str:
    """A diagnosis for a terminal: verdict, evidence, accuracies, one row a layer."""
    judged = verdict(found)
    lines = [f"{judged.status.upper()}. {judged.headline}", *judged.evidence, ""]
    for arm, summary in found.outcomes().items():
        interval = (
            "" if summary.ci95 is None else f"  95 % interval {percent(summary.ci95[0])} to {percent(summary.ci95[1])}"
        )
        lines.append(f"{arm:<9}{percent(summary.accuracy):>14}  n={summary.n}{interval}")
    lines += [f"No repair: {found.reason}"] if found.reason else [f"Repair: {found.repair_report}"]
    lines += [
        "",
        f"{'layer':<28}{'sparsity':>9}{'pruned':>10}{'repaired':>10}   variance ratio, n={found.probed} images",
    ]
    for layer in found.layers:
        own = "" if layer.sparsity is None else f"{layer.sparsity:.2f}"
        lines.append(
            f"{layer.name:<28}{own:>9}{_ratio(layer.variance_ratio('pruned'))}{_ratio(layer.variance_ratio('repaired'))}"
        )
    lines += [f"not measured: {name}: {why}" for name, why in found.unmeasured]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def _ratio(value: float | None) -> str:
    return f"{'–' if value is None else format(value, '.3g'):>10}"


def _sweep(options: argparse.Namespace) -> None:
    specs = _arms(options)
    _check_out(options.out)
    rows: dict[Spec, dict[str, Any]] = {}
    with _executor(options) as submit, tqdm(total=len(specs), unit="spec", file=sys.stderr) as bar:
        futures = {submit(spec): spec for spec in specs}
        for done in as_completed(futures):
            rows[futures[done]] = _row(futures[done], done)
            bar.update()
    table = pd.DataFrame([rows[spec] for spec in specs])
    WRITERS[options.out.suffix if options.out else ".csv"](table, options.out or sys.stdout)


def _arms(options: argparse.Namespace) -> list[Spec]:
    """Every model × criterion × update × repair × seed × sparsity, each spec once; a pattern has but one sparsity."""
    base = _spec(options)
    if options.seeds < 1:
        raise ReflowError(f"seeds={options.seeds} is out of range; choose 1 or more.")
    models = options.models or [base.model]
    if options.checkpoint is not None and options.models:
        raise ReflowError("--checkpoint goes with one --model; with --models write ARCHITECTURE@FILE for each.")
    for model in models:
        Library(EVERYTHING).info(parted(model)[0])
    chosen = [getattr(options, plural) or [getattr(base, one)] for plural, one in PLURALS.items() if one != "model"]
    specs = [
        settle(arm, sparsity=sparsity)
        for model in models
        for seed in range(base.seed, base.seed + options.seeds)
        for sparsity in sparsities(options.sparsities)
        for arm in arms(base.replace(model=model, seed=seed), *chosen)
    ]
    return list(dict.fromkeys(specs))


def _row(spec: Spec, done: Future[Diagnosis]) -> dict[str, Any]:
    """The row of a diagnosis, or of the reason why there is none."""
    try:
        return row(done.result())
    except ReflowError as error:
        return {**spec.to_dict(), "reason": str(error)}


@contextmanager
def _executor(options: argparse.Namespace) -> Iterator[Callable[[Spec], Future[Diagnosis]]]:
    """Where the specs are computed: threads of this process sized to the machine, or a Dask cluster."""
    if options.cluster is not None:
        with cluster(options.cluster) as executor:
            yield lambda spec: executor.submit(solve, spec)
        return
    with _store() as store, threads(Library(EVERYTHING, device=options.device), store) as submit:
        yield submit


def _check_out(out: Path | None) -> None:
    """Raises ReflowError, before anything is computed, for a file that could not be written."""
    if out is None:
        return
    if out.suffix not in WRITERS:
        raise unknown("file type", out.suffix, WRITERS)
    if not out.parent.is_dir():
        raise ReflowError(f"There is no folder {str(out.parent)!r} to write {out.name!r} into; make it first.")


WRITERS: dict[str, Any] = {
    ".csv": lambda table, out: table.to_csv(out, index=False),
    ".md": lambda table, out: out.write_text(markdown(table)),
    ".json": lambda table, out: table.to_json(out, orient="records"),
    ".parquet": lambda table, out: table.to_parquet(out, index=False),
}


def sparsities(text: str) -> list[float]:
    """ "0:0.99:0.05" (FROM:TO:STEP, both ends included where the step meets them) or "0.5,0.8" as fractions.

    Raises ReflowError for anything else.
    """
    try:
        if ":" not in text:
            return [float(part) for part in text.split(",")]
        start, stop, step = (float(part) for part in text.split(":"))
        if step <= 0 or not 0 <= start <= stop <= MAX_SPARSITY:
            raise ValueError
        count = int((stop - start) / step + 1e-9) + 1
        return [round(start + number * step, 6) for number in range(count)]
    except (ValueError, OverflowError):
        raise ReflowError(
            f"sparsities={text!r} is not FROM:TO:STEP within 0 to {MAX_SPARSITY}; try 0:0.99:0.05."
        ) from None


def _models(options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = [
        {"name": info.name, "title": info.title, "data": info.data, "here": not shelves.missing(info.name),
         "accuracy": shelves.card(info.name).get("accuracy"), "collapse_at": info.collapse_at, "paper": info.paper}
        for info in known().values()
    ]  # fmt: skip
    if options.json:
        print(json.dumps(rows))
        return
    for each in rows:
        where = "ready" if each["here"] else "to download"
        print(
            f"{each['name']:<20}{percent(each['accuracy']) if each['accuracy'] else '':>8}  {where:<12}{each['title']}"
        )


def _download(options: argparse.Namespace) -> None:
    if options.name not in shelves.downloads() and not is_timm(options.name):
        raise unknown("download", options.name, shelves.downloads())
    with tqdm(unit="B", unit_scale=True, desc=options.name, file=sys.stderr) as bar:

        def watch(stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shelves.download(options.name, watch)


def _train(options: argparse.Namespace) -> None:
    info = find(options.name)
    if info.download is not None:
        raise ReflowError(f"{info.name} is not trained here, its public weights are; use 'download {info.name}'.")
    recipe = RECIPES.get(info.name, Recipe())
    if options.epochs is not None:
        if options.epochs < 1:
            raise ReflowError(f"epochs={options.epochs} is out of range; choose 1 or more.")
        recipe = dataclasses.replace(recipe, epochs=options.epochs)
    images = Library().images(Spec(model=info.name))
    with tqdm(total=recipe.epochs, desc=info.name, unit="epoch", file=sys.stderr) as bar:
        network = train(
            info, images, recipe, lambda epoch, epochs, loss: (bar.set_postfix(loss=f"{loss:.3f}"), bar.update())[1]
        )
    with torch.inference_mode():
        answers = network(evaluation_inputs(images.test, info)(slice(None))).argmax(1)
    accuracy = float((answers == images.test.labels).double().mean())
    print(save(network, info, recipe, accuracy, len(images.test), options.out))
