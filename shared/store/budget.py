"""Money in Redis: limits, and the error of breaking one. Amounts are integers of 1e-6 USD."""

from shared.errors import BudgetExceeded

_WHOSE = {"daily": "the daily limit", "monthly": "the monthly limit", "batch": "the batch's max_cost"}
_ADVICE = {
    "daily": "wait until tomorrow (UTC), or ask your operator for a higher limit",
    "monthly": "wait for the next month (UTC), or ask your operator for a higher limit",
    "batch": "raise max_cost, or submit fewer items",
}


def budget_exceeded(name: str, limit_micro_usd: str | int, left_micro_usd: str | int) -> BudgetExceeded:
    """The error for a broken limit: `daily`, `monthly` or `batch`."""
    limit, left = int(limit_micro_usd) / 1e6, int(left_micro_usd) / 1e6
    message = f"{left:.6f} USD are left of {_WHOSE[name]} of {limit:.6f} USD; {_ADVICE[name]}"
    return BudgetExceeded(message, left_micro_usd=int(left_micro_usd))
