"""`make bench`: every cost that must hold, as a ratio of medians measured in this one run."""

from __future__ import annotations

import sys

from tests.benchmarks import browser, cluster, core, curve, forward, fuzz, gpu, large, load, production, repairs

ON_REQUEST = {
    "siege",
    "fifty",
    "fuzz",
    "beyond_reflow",
    "beyond_reflow_zoo",
    "beyond_reflow_imagenet",
}  # longer than all others together


def main() -> None:
    """Run all benchmarks, or those whose names are given; print a table."""
    wanted = set(sys.argv[1:])
    print(f"{'what':<58}{'bound':>10}{'measured':>10}   verdict", flush=True)
    rooms = (core, forward, curve, repairs, large, load, fuzz, production, cluster, gpu, browser)
    every = [measure for room in rooms for measure in room.BENCHMARKS]  # type: ignore[attr-defined]
    chosen = wanted or {measure.__name__ for measure in every} - ON_REQUEST
    for measure in every:
        if measure.__name__ not in chosen:
            continue
        for row in measure():
            met = row.value <= row.bound if row.at_most else row.value >= row.bound
            sign = "≤" if row.at_most else "≥"
            verdict = "holds" if met else "MISSED"
            print(
                f"{row.what:<58}{sign + format(row.bound, '.2f'):>10}{row.value:>10.2f}   {verdict}  {row.note}",
                flush=True,
            )


if __name__ == "__main__":
    main()
