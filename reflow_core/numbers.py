"""How numbers are written wherever a person reads them. Files that go on to other programs keep full precision.

A unit follows a no-break space, a negative number has a real minus sign, what is missing is an en dash, no exponent is
ever written, and what is not 0 % or 100 % is never rounded to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

SPACE = "\u00a0"  # between a number and its unit: they stay on one line
MINUS = "\u2212"
MISSING = "\u2013"
SMALLEST_RATIO = 1e-4  # the lower end of every axis of ratios
SMALLEST_P = 1e-3
DIGITS = Context(prec=400)  # room for any float
SPARE_DIGITS, MOST_DECIMALS = 3, 6  # of a table's column


def decimal(value: float, places: int) -> str:
    """A number with so many decimals: 1,234.5, and −0.3; a number that rounds to 0 has no sign.

    Halves are rounded away from 0, as JavaScript's toFixed does, so that page and server write the same.
    """
    if not math.isfinite(value):
        return str(value)
    text = f"{Decimal(abs(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, DIGITS):,f}"
    return f"{MINUS}{text}" if value < 0 and text.strip("0.") else text


def percent(share: float | None, places: int = 1) -> str:
    """A fraction in percent: 99.1 %; one that would round to 0 or 100 without being it: < 0.1 %, > 99.9 %."""
    if share is None or math.isnan(share):
        return MISSING
    text, least = decimal(100 * share, places), 10**-places
    if 0 < share < 1 and float(text) in (0.0, 100.0):
        text = f"< {least:.{places}f}" if share < 0.5 else f"> {100 - least:.{places}f}"
    return f"{text}{SPACE}%"


def whole_percent(share: float | None) -> str:
    """A fraction in percent without decimals: 99 %, < 1 %."""
    return percent(share, 0)


def sparsity_of(share: float) -> str:
    """A sparsity that somebody set, with all its digits: 80 %, 97.5 %."""
    return f"{100 * share:.4g} %"


def in_points(loss: float) -> str:
    """A loss (fraction) in points: 1.2 points."""
    return f"{decimal(100 * loss, 1)} points"


def signed_points(gain: float) -> str:
    """A change (fraction) in points, with its sign: +1.2 points; none has no sign."""
    text = in_points(gain)
    return f"+{text}" if gain > 0 and text.strip("0. points") else text


def between(before: float, after: float) -> float:
    """The difference (fraction) of two fractions as they are shown, so that 99.1 % less 13.6 % is 85.5 points."""
    shown = [Decimal(decimal(100 * share, 1).replace(MINUS, "-")) for share in (before, after)]
    return float(shown[0] - shown[1]) / 100


def points_between(before: float, after: float) -> str:
    """What was lost between two fractions that stand beside it, in points."""
    return in_points(between(before, after))


def chance(classes: int) -> str:
    """The accuracy of a guess among so many classes: 10 %, 14.3 %, 0.1 %."""
    return f"{100 / classes:.3g}{SPACE}%"


def ratio(value: float | None) -> str:
    """A ratio with two significant digits: 0.033, 1.0, 5,000; under the axis < 0.0001; a missing one is a dash."""
    if value is None or math.isnan(value):
        return MISSING
    if 0 < value < SMALLEST_RATIO:
        return f"< {SMALLEST_RATIO:.4f}"
    return significant(value, 2)


def significant(value: float, digits: int) -> str:
    """A number with so many significant digits and no exponent."""
    if not value or not math.isfinite(value):
        return decimal(value, 0)
    rounded = float(f"{value:.{digits - 1}e}")
    return decimal(rounded, max(0, digits - 1 - math.floor(math.log10(abs(rounded)))))


def times(factor: float) -> str:
    """A speed as a multiple of another: 1.05, 0.12, 0.003."""
    return decimal(factor, 2) if factor >= 0.1 else significant(factor, 1)


def p_value(p: float) -> str:
    """A p value: p = 0.032; a tiny one as p < 0.001."""
    if p < SMALLEST_P:
        return f"p < {SMALLEST_P:g}"
    return f"p = {decimal(p, 3 if p < 0.1 else 2)}"


def count(number: float) -> str:
    """A whole number with its thousands set apart: 268,336."""
    return decimal(number, 0)


def short_count(number: float) -> str:
    """A number of weights or operations: 4,586, 272 k, 4.65 M, 1.2 G."""
    for least, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if number >= least:
            return f"{significant(number / divisor, 3)}{SPACE}{unit}"
    return count(number)


def parameters(number: float) -> str:
    """The size of a network: 4,586 parameters, 272 k parameters."""
    return f"{short_count(number)} parameters"


def milliseconds(duration: float) -> str:
    """A time in milliseconds with three significant digits: 0.42 ms would be 0.420 ms."""
    return f"{significant(duration, 3)}{SPACE}ms"


def seconds(duration: float) -> str:
    """A time in seconds: 0.42 s, 12 s, and from 100 seconds on 2 min."""
    if duration >= 100:
        return f"{duration / 60:.0f}{SPACE}min"
    return f"{significant(duration, 2)}{SPACE}s"


def size(number: float) -> str:
    """A number of bytes: 842 B, 1.2 kB, 1.1 MB, 4.3 GB."""
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= least:
            return f"{decimal(number / least, 1)}{SPACE}{unit}"
    return f"{number:.0f}{SPACE}B"


def column(values: Iterable[Any]) -> Callable[[Any], str]:
    """How to write the values of one column of a table: words as they are, numbers with the same `decimals`."""
    places = decimals(values)
    return lambda value: _cell(value, places)


def decimals(values: Iterable[Any]) -> int:
    """So many that the middle value has three significant digits and the smallest one, 0 to 6."""
    numbers = sorted(abs(float(each)) for each in values if _is_number(each) and each)
    if all(each == int(each) for each in numbers):
        return 0
    middle, least = numbers[len(numbers) // 2], numbers[0]
    wanted = (SPARE_DIGITS - 1 - math.floor(math.log10(middle)), -math.floor(math.log10(least)))
    return min(MOST_DECIMALS, max(0, *wanted))


def _cell(value: Any, places: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if not _is_number(value):
        return str(value)
    text, least = decimal(float(value), places), 10.0**-places
    return text if text.strip("0.") or value <= 0 else f"< {least:.{places}f}"


def _is_number(value: Any) -> bool:
    """Whether it is a finite number, of Python's or numpy's."""
    kind = type(value).__name__
    return kind.startswith(("int", "float", "uint")) and math.isfinite(value)


def finite(value: float | None) -> float | None:
    """The value, or None where JSON could not hold it."""
    return value if value is not None and math.isfinite(value) else None
