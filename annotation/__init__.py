"""People in the loop: queries on disk, the page, and the files of other annotation tools."""

if __name__ != "ralseg.annotation":
    raise ImportError("import ralseg.annotation: under the name annotation every class would exist a second time")
