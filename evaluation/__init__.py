"""Comparisons: runs, the results store, and everything that is made of it.

Import what is needed from its module: `results` and `summary` read files, `pictures` and `report` import matplotlib.
"""

if __name__ != "ralseg.evaluation":
    raise ImportError("import ralseg.evaluation: under the name evaluation every class would exist a second time")
