"""Pure functions on numbers: intervals of paired differences, and areas under budget curves."""

from ralseg.stats.curves import BudgetArea, area_under_budget_curve
from ralseg.stats.intervals import Interval, paired_interval, two_set_mean

__all__ = ["BudgetArea", "Interval", "area_under_budget_curve", "paired_interval", "two_set_mean"]
