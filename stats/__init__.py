"""Statistics of runs: pure functions on numbers. docs/statistics.md explains every figure."""

if __name__ != "ralseg.stats":
    raise ImportError("import ralseg.stats: under the name stats every class would exist a second time")

from ralseg.stats.arrays import complete
from ralseg.stats.collapse import Reach, distances, effective_number, reach
from ralseg.stats.comparisons import AdvantageWon, advantage_won, interquartile_mean, share_of_paired_wins
from ralseg.stats.curves import BudgetArea, area_under_budget_curve, monotone_fit
from ralseg.stats.forecast import Forecast, forecast
from ralseg.stats.intervals import Interval, paired_interval, two_set_mean
from ralseg.stats.labels_saved import LabelsSaved, labels_saved
from ralseg.stats.penalty import PenaltyMatrix, holm, penalty_matrix
from ralseg.stats.resampling import Resamples
from ralseg.stats.seconds import SecondsModel, fit_seconds

__all__ = [
    "AdvantageWon",
    "BudgetArea",
    "Forecast",
    "Interval",
    "LabelsSaved",
    "PenaltyMatrix",
    "Reach",
    "Resamples",
    "SecondsModel",
    "advantage_won",
    "area_under_budget_curve",
    "complete",
    "distances",
    "effective_number",
    "fit_seconds",
    "forecast",
    "holm",
    "interquartile_mean",
    "labels_saved",
    "monotone_fit",
    "paired_interval",
    "penalty_matrix",
    "reach",
    "share_of_paired_wins",
    "two_set_mean",
]
