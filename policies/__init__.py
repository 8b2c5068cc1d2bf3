"""Policies that come with ralseg: package data, a folder each with a card; `policies=[zoo:<name>]` plays one."""

if __name__ != "ralseg.policies":
    raise ImportError("import ralseg.policies: under the name policies every class would exist a second time")
