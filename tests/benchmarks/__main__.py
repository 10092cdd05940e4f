"""`make bench`: every cost that must hold, as a ratio of medians measured in this one run."""

from __future__ import annotations

import sys

from tests.benchmarks import browser, core, large, load, production


def main() -> None:
    """Run all benchmarks, or those whose names are given; print a table."""
    wanted = set(sys.argv[1:])
    print(f"{'what':<58}{'bound':>10}{'measured':>10}   verdict", flush=True)
    for measure in (*core.BENCHMARKS, *large.BENCHMARKS, *load.BENCHMARKS, *production.BENCHMARKS, *browser.BENCHMARKS):
        if wanted and measure.__name__ not in wanted:
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
