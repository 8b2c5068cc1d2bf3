"""Comparisons of policies; import what is needed from its module.

From below: `play` and `executors` play runs and `runs` a whole comparison; `results` stores its rows; `summary` makes
every figure of them; `cells` and `tables` present these; `text`, `pictures` and `page` render them; `report` writes all
files. `commands` is what the doors do. Reading results and the summary needs neither torch nor matplotlib.
"""

if __name__ != "ralseg.evaluation":
    raise ImportError("import ralseg.evaluation: under the name evaluation every class would exist a second time")
