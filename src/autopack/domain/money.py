"""Money in whole nano-dollars. Floats drift when they are added: a cap would leak, and sums would not reconcile. Pure.

A column holds the float that is nearest to a whole number of nano-dollars. Up to nine million dollars it gives that
number back exactly, so what is added and subtracted in nano-dollars is exact.
"""

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

NANOS = 1_000_000_000
"""In one dollar."""


def nanos(usd: float) -> int:
    """The nearest whole number of nano-dollars."""
    return _whole(usd, ROUND_HALF_EVEN)


def nanos_at_most(usd: float) -> int:
    """Rounded up: a worst case may not be made smaller."""
    return _whole(usd, ROUND_CEILING)


def dollars(amount: int) -> float:
    """Of a whole number of nano-dollars."""
    return amount / NANOS


def short(usd: float) -> str:
    """For a person who reads many figures: $1.50, to the cent or as fine as it takes to show that it is not nothing."""
    return f"${usd:,.2f}" if usd == 0 or abs(usd) >= 0.005 else f"${spelled(usd)}"


def spelled(usd: float) -> str:
    """For a person, every digit that counts: "0.5", "0.00000012", never an exponent."""
    text = f"{Decimal(nanos(usd)) / NANOS:.9f}"
    return text.rstrip("0").rstrip(".")


def _whole(usd: float, rounding: str) -> int:
    return int((Decimal(repr(usd)) * NANOS).to_integral_value(rounding))
