"""The system of two-stage eDALD as a user plays it: experiment=two_stage_edald."""

import csv

import own_source as own
import pytest

from ralseg.evaluate_policy import main as evaluate_policy

TINY = [
    "dataset=streets", "dataset.images=40", "dataset.size=[96,128]", "experiment=two_stage_edald",
    "protocol.counts={state: 3, train: 3, compare: 11, dev: 4}", "source=stages",
    "source._target_=own_source.RandomColours", "game.pool_per_image=12", "game.learn.steps=5",
    "budgets=[0.1,0.2,0.3]", "draws=2", "processes=1",
]  # fmt: skip
"""A source of the reader's own in the place of the encoder, as source._target_ puts it there."""
TWO_STAGE = (
    "{as: two_stage, stages: {stages: [{by: {max_herding: {embedding: source}}, per_image: 5}, "
    "{by: {max_herding: {embedding: source}}, share: 0.5}, {by: {edald: {noise: {kind: grainy, draws: 3}}}}]}}"
)
MARGIN = "{as: herded_margin, cold_start: {first: {max_herding: {embedding: source}}, then: margin}}"


@pytest.fixture
def play(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))

    def played(*overrides, run="run"):
        assert evaluate_policy([*TINY, *overrides, f"run={tmp_path / run}"]) == 0
        return tmp_path / run

    return played


def rows_of(run):
    with open(run / "results.csv") as file:
        return list(csv.DictReader(file))


def test_every_image_passes_once_for_all_rounds_methods_and_draws(play):
    own.COMPUTED.clear()
    run = play(f"policies=[{TWO_STAGE}, {MARGIN}, random]", "splits=[dev,test]")
    rows = rows_of(run)
    assert {row["policy"] for row in rows} == {"two_stage", "herded_margin", "random"}
    # A tenth of 11 is two pixels a round, and one in the second, as 0.3 x 11 pays three.
    assert {(row["budget_units"], row["units"], row["pixels"]) for row in rows} == {
        ("0.1", "2", "2"), ("0.2", "3", "3"), ("0.3", "3", "3"),
    }  # fmt: skip
    # The pool in all variants; D_S, which scales the inputs, dev and test as they are. The command tries a source on
    # one image before anything is played.
    passes = 11 * (1 + 3) + 3 + 4 + 5
    assert len(own.COMPUTED) == passes and own.COMPUTED.total() == passes + 1
    play(f"policies=[{TWO_STAGE}, entropy]", "draws=3", run="another")
    assert len(own.COMPUTED) == passes and own.COMPUTED.total() == passes + 2


def test_methods_with_one_start_begin_with_the_same_pixels(play):
    start = "{max_herding: {embedding: source}}"
    policies = [f"{{as: {by}_first, cold_start: {{first: {start}, then: {by}}}}}" for by in ("margin", "entropy")]
    rows = rows_of(play(f"policies=[{', '.join(policies)}]", "splits=[dev]", "draws=1"))
    first, second = ([row["miou"] for row in rows if row["policy"] == f"{by}_first"] for by in ("margin", "entropy"))
    assert first[0] == second[0]


def test_it_is_repeatable(play):
    again = [rows_of(play(f"policies=[{TWO_STAGE}]", "splits=[dev]", run=run)) for run in ("one", "two")]
    assert [row["miou"] for row in again[0]] == [row["miou"] for row in again[1]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["policies=[{as: margin, entropy: {reduction: max}}]"], "as='margin' names none in tables"),
        (["policies=[{as: a b, entropy: {reduction: max}}]"], "as='a b' names none in tables"),
        (["game.redraw=game", "game.pool_per_image=null"], "redraw=game is for units drawn from the pool"),
        (["game.slates_per_image=0"], "game.slates_per_image=0 is out of range"),
        (["game.budget_measure=units", "budgets=[3,7]", "policies=[random]"], "is no multiple of game.slates=2"),
        (["network.hidden=[]"], "network.hidden=[] has no layer"),
        (["network.norm=group"], "network.norm='group' is unknown"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_in_one_line(tmp_path, monkeypatch, capsys, overrides, message):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    assert evaluate_policy([*TINY, *overrides, f"run={tmp_path / 'run'}"]) == 2
    found = capsys.readouterr().err
    assert message in found and found.count("\n") == 1
    assert not (tmp_path / "run").exists()
