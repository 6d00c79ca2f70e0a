"""Numbers as a reader wants them: as many digits as mean something, and no more."""

import math
from typing import Any

NONE, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


def short(value: float | None, digits: int = 4) -> str:
    """A number with at least so many significant digits where it has a fraction: 1,234, 12.34, 0.001234, 1.2e-07."""
    if value is None or math.isnan(value):
        return NONE
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -5:
        return f"{value:.{digits - 1}g}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.{max(digits - 1 - size, 0)}f}"


def within(mean: float | None, low: float | None, high: float | None) -> str:
    """A mean and the half width of its interval, to two significant digits of the latter: 0.1234 ± 0.0012."""
    if mean is None or low is None or high is None or math.isnan(high - low):
        return short(mean)
    half = (high - low) / 2
    if half <= 0:
        return short(mean)
    places = places_of(half)
    return f"{_rounded(mean, places)} ± {_rounded(half, places)}"


def span(low: float | None, high: float | None, *, sign: bool = True) -> str:
    """An interval by its ends: -0.12 to +0.04."""
    if low is None or high is None or math.isnan(high - low):
        return NONE
    places = places_of((high - low) / 2 or abs(high))
    return f"{_rounded(low, places, sign)} to {_rounded(high, places, sign)}"


def signed(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A difference with its sign, and as many digits as its interval allows."""
    if value is None or math.isnan(value):
        return NONE
    half = None if low is None or high is None or math.isnan(high - low) else (high - low) / 2
    if not half:
        return "0" if value == 0 else f"{'+' if value > 0 else MINUS}{short(abs(value))}"
    places = places_of(half)
    if value and not float(f"{value:.{places}f}"):
        places = places_of(abs(value)) - 1  # a small difference is not the same as none
    return _rounded(value, places, True)


def share(value: float | None) -> str:
    """A part of one, as percent with its sign: +12.3%."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) < 1e-6:
        return "0.0%"
    places = max(-2 - math.floor(math.log10(abs(value))), 1)  # a small part is not the same as none
    return f"{value:+.{places}%}".replace("-", MINUS)


def probability(value: float | None) -> str:
    """A p value: 0.034, or < 0.001."""
    if value is None or math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def chance(row: dict[str, Any], name: str) -> str:
    """A p value of a row of paired differences; where these are all equal there is no chance in it."""
    constant = row["low"] is not None and row["low"] == row["high"]
    return "exact" if constant and row["difference"] else probability(row[name])


def places_of(half: float) -> int:
    """Decimal places that show two significant digits of the half width of an interval."""
    return min(max(1 - math.floor(math.log10(half)), 0), 12) if half > 0 else 0


def _rounded(value: float, places: int, sign: bool = False) -> str:
    text = f"{value:{'+' if sign else ''},.{places}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) or sign else f"{0:.{places}f}"
