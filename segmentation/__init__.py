"""Segmentation: data sets, splits, networks, learners, metrics."""

if __name__ != "ralseg.segmentation":
    raise ImportError("import ralseg.segmentation; importing it as segmentation would copy every class")
