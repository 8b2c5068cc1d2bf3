"""Comparisons: runs, the results store, and everything that is made of it.

Import what is needed from its module: `results` and `summary` read files, `pictures` and `report` import matplotlib.
"""
