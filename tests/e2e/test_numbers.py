"""The page writes numbers as the server does."""

from __future__ import annotations

import json
import random

from playwright.sync_api import Page

from reflow_core import numbers
from tests.e2e.browser import ROOT

SCRIPT = (ROOT / "pages" / "ui" / "scope" / "scope.js").read_text().partition("// The component's entry")[0]
STEP = random.Random(0)
SHARES = [0, 1, 3e-4, 5e-4, 0.9996, 0.99949, 49 / 400, 0.9914, 0.1357, *(k / 800 for k in range(800))]
RATIOS = [0, 1, 13.04, 0.0084, 0.0000999, 5123, 0.999, 0.0995, *(10 ** STEP.uniform(-6, 5) for _ in range(300))]


def test_the_page_writes_numbers_as_the_server_does(page: Page) -> None:
    def shown(function: str, values: list[float]) -> list[str]:
        script = f"{SCRIPT}; return {json.dumps(values)}.map({function})"
        return list(page.evaluate("(script) => new Function(script)()", script))

    assert shown("percent", SHARES) == [numbers.percent(share) for share in SHARES]
    assert shown("number", RATIOS) == [numbers.ratio(ratio) for ratio in RATIOS]
    signed = [f"{each} points" for each in shown("(share) => signed(100 * share)", [-0.855, 0.0, 0.13, -0.0001])]
    assert signed == [numbers.signed_points(share) for share in (-0.855, 0.0, 0.13, -0.0001)]
