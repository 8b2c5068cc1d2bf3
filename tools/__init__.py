"""Tools for those who develop ralseg: checking what the documents say. Not part of the wheel."""

if __name__ != "ralseg.tools":
    raise ImportError("import ralseg.tools: under the name tools every class would exist a second time")
