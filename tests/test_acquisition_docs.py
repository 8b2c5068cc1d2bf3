"""docs/acquisitions has a page for every acquisition, and says what the code has."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from ralseg.agents.acquisitions import Scored, Selection, make, names, parse
from ralseg.agents.acquisitions.compositions import Stage
from ralseg.agents.acquisitions.registry import FORMULAS, MADE_OF_OTHERS
from ralseg.benchmarks.run import TABLES
from ralseg.configs import composed
from ralseg.evaluation.policies import check_policies, make_policies
from ralseg.foundation import settings

FOLDER = Path(__file__).parents[1] / "docs/acquisitions"
CLASSES = FORMULAS | MADE_OF_OTHERS
PAGES = (*names(), *MADE_OF_OTHERS)
HEADINGS = ("Options", "Source", "Cost", "When it is good", "Difference to released code")
NOISES = {"dropout": "dropout", "features": "feature noise", "flip": "flip"}


def text_of(page):
    return (FOLDER / f"{page}.md").read_text()


def sections(text):
    """Heading of level 2 -> what stands below it; code is no heading."""
    parts = re.split(r"^## (.+)\n", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(text):
    """The cells of the rows of the first table, plain: without links and code marks."""
    lines = [line for line in text.split("\n\n|", 1)[-1].split("\n\n")[0].splitlines() if line.count("|") > 2]
    rows = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", line).replace("`", "") for line in lines[2:])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def defaults(text):
    return {name: default for name, default, *_ in table(text)}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def scored(name):
    return isinstance(make(name), Scored) if name in names() else issubclass(CLASSES[name], Scored)


def own_fields(cls):
    return [field for field in dataclasses.fields(cls) if field.name != "selection"]


def test_every_acquisition_has_a_page_and_every_page_an_acquisition():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted([*PAGES, "README"])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_the_headings(page):
    text = text_of(page)
    assert text.startswith(f"# {page}\n")
    found = sections(text)
    assert list(found) == ["Score" if scored(page) else "Choice", *HEADINGS]
    assert all(body.strip() for body in found.values())
    assert "[the table](README.md#what-they-cost)" in found["Cost"].replace("\n", " ")


@pytest.mark.parametrize("page", CLASSES)
def test_a_page_names_every_option_and_its_default(page):
    body = sections(text_of(page))["Options"]
    fields = own_fields(CLASSES[page])
    if not fields:
        assert "|" not in body
        return
    found = defaults(body)
    if page == "stages":
        assert {name: found.pop(name) for name in [field.name for field in dataclasses.fields(Stage)]} == {
            field.name: "required" if field.default is dataclasses.MISSING else yaml.safe_dump(field.default).split()[0]
            for field in dataclasses.fields(Stage)
        }
    assert list(found) == [field.name for field in fields]
    for field in fields:
        if field.default is dataclasses.MISSING:
            assert found[field.name] == "required"
        elif page in FORMULAS:
            assert make(page, **{field.name: yaml.safe_load(found[field.name])}) == make(page), field.name
        else:
            assert yaml.safe_load(found[field.name]) == field.default, field.name


def test_compositions_have_no_options():
    for page in sorted(set(PAGES) - set(CLASSES)):
        assert "|" not in sections(text_of(page))["Options"]


def test_the_readme_lists_every_acquisition_as_it_is():
    readme = text_of("README")
    assert {page for page in PAGES if f"[`{page}`]({page}.md)" in readme} == set(PAGES)
    rows = {name: (needs, kind) for name, _, needs, kind in table(readme)}
    assert set(rows) == set(PAGES)
    for page, (needs, kind) in rows.items():
        assert kind == ("scores" if scored(page) else "set"), page
        if page not in MADE_OF_OTHERS:
            assert set(needs.split(", ")) == needed(make(page)), page


def needed(acquisition):
    words = {NOISES[reducer.noise.kind] for reducer in acquisition.needs if reducer.noise}
    words |= {"embeddings" for reducer in acquisition.needs if reducer.labelled}
    words |= {"gradients" for reducer in acquisition.needs if reducer.name == "gradient"}
    words |= {"true labels"} if acquisition.sees_truth else set()
    return words or ({"prediction"} if acquisition.needs else {"nothing"})


def test_the_readme_names_every_field_of_the_selection():
    found = defaults(sections(text_of("README"))["Selection"])
    assert list(found) == [field.name for field in dataclasses.fields(Selection)]
    for name, default in found.items():
        assert settings(Selection, {name: yaml.safe_load(default)}, "selection") == Selection(), name


def test_power_variants_say_what_their_selection_is():
    for page in PAGES:
        chance = make(page).selection != Selection() if page in names() else False
        assert chance == ("Its [`selection`](README.md#selection) is `{stochastic: power}`" in text_of(page)), page


def test_every_yaml_block_is_an_acquisition():
    count = 0
    for page in (*PAGES, "README"):
        for block in blocks(text_of(page), "yaml"):
            entry = yaml.safe_load(block)
            for one in entry if isinstance(entry, list) else [entry]:
                parse(one)
                count += 1
    assert count > 5


def test_every_command_names_policies_that_can_play(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = text_of("README")
    for block in blocks(readme, "yaml"):
        if named := re.match(r"# (\S+\.yaml)\n", block):
            Path(named[1]).write_text(block)
    commands = [line for block in blocks(readme, "bash") for line in block.splitlines()]
    assert len(commands) > 3
    for command in commands:
        door, *overrides = shlex.split(re.sub(r"^(uv run|python) ", "", command))
        if door == "benchmarks/run.py":
            assert overrides[0] in TABLES
            continue
        assert door == "evaluate_policy.py"
        config = composed("evaluate_policy", [override.replace("<folder>", "images") for override in overrides])
        check_policies(make_policies(config["policies"]), config)


@pytest.mark.parametrize("page", [*PAGES, "README"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        there = FOLDER / (name or f"{page}.md")
        assert there.exists(), target
        if there.is_dir():
            continue
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in sections(there.read_text())}
        assert not anchor or anchor in slugs, target


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "example"}
    for number, block in enumerate(blocks(text_of("README"), "python")):
        exec(compile(block, f"README.md, example {number}", "exec"), scope)
    game, turn, rows = scope["game"], scope["turn"], scope["results"].rows
    assert game.ledger.units == len(turn.units) == 6 and turn.refused == 0
    assert {row["policy"] for row in rows} == {"energy", "random", "entropy(reduction=max)"}
    assert (tmp_path / "runs/energy/results.csv").exists() and "energy 0 " in capsys.readouterr().out
