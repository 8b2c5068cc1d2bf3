"""Policies that come with ralseg: package data, a folder each with a card; `policies=[zoo:<name>]` plays one."""
