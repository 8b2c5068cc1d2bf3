"""Measurements of speed and memory, which `run.py` makes table by table. Not part of the wheel."""

if __name__ != "ralseg.benchmarks":
    raise ImportError("import ralseg.benchmarks: under the name benchmarks every class would exist a second time")
