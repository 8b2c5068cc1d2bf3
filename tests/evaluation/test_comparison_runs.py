import csv
import json
import pickle

import numpy as np
import pytest

from ralseg.agents.acquisitions import FixedPolicy, make
from ralseg.envs import World
from ralseg.evaluation.play import Player
from ralseg.evaluation.policies import NamedPolicy
from ralseg.evaluation.report import write_report
from ralseg.evaluation.results import columns, load_results
from ralseg.evaluation.summary import summarise
from ralseg.evaluation.tables import of_summary
from ralseg.evaluation.text import cells
from ralseg.foundation import RalsegError, generator

APART = ("seconds_choosing", "commit")


def bare(results):
    return sorted(tuple((k, str(v)) for k, v in row.items() if k not in APART) for row in results.rows)


def true_pixels(world, game):
    counts = np.zeros(len(world.dataset.classes), np.int64)
    for name, y, x, height, width in game.pool.records(game.pool.bought):
        label = world.dataset.load(name)[1][y : y + height, x : x + width]
        counts += np.bincount(label.ravel(), minlength=256)[: len(counts)]
    return counts


def test_rows_are_those_of_a_game_played_by_hand(play, tiny):
    results, _ = play(policies=["margin"], budgets=[0, 2, 6], splits=["dev", "test"])
    world, policy = World(tiny()), FixedPolicy(make("margin"))
    game = world.game("compare", observed=False)
    game.reset(0)
    by_key = {(row["budget_units"], row["split"]): row for row in results.rows}
    assert len(by_key) == len(results.rows) == 6
    for budget in (0, 2, 6):
        while game.ledger.units < budget:
            game.step(policy.select(game.view(policy.needs, False), generator(0, "policy", game.turn)))
        for split in ("dev", "test"):
            row = by_key[budget, split]
            found = game.evaluator(game.learner, world.images(split))
            assert row["miou"] == pytest.approx(found.miou, abs=1e-4)
            ious = np.array([row[f"iou_{name}"] for name in world.dataset.classes])
            np.testing.assert_allclose(ious, found.iou, atol=1e-6)
            paid = game.ledger.to_dict()
            assert all(row[key] == paid[key] for key in ("units", "pixels", "images", "clicks"))
            counts = true_pixels(world, game)
            shares = counts / max(counts.sum(), 1)
            entropy = -sum(s * np.log(s) for s in shares if s)
            assert row["class_entropy"] == pytest.approx(entropy, abs=1e-4)
    bought = results.bought(results.rows[0]["run_id"])
    assert [tuple(unit) for unit in bought["units"]] == game.pool.records(game.pool.bought)
    assert bought["counts"] == [0, 2, 6]
    assert bought["clicks"] == [row["clicks"] for row in results.rows if row["split"] == results.rows[0]["split"]]
    assert bought["class_pixels"][-1] == true_pixels(world, game).tolist()


def test_two_processes_give_the_rows_of_one_and_fitted_networks_too(play):
    options = {"policies": ["random", "entropy"], "fit_draws": 1, "supervised": True}
    one, _ = play("one", **options)
    two, _ = play("two", processes=2, **options)
    assert bare(one) == bare(two)
    kept = [
        {str(p.relative_to(r.folder)): p.read_bytes() for p in r.folder.glob("gallery/*/*.png")} for r in (one, two)
    ]
    assert kept[0] == kept[1] and len(kept[0]) == 2 * 4 * 2
    fitted = [row for row in one.rows if row["game"] == "partial+fit"]
    assert sorted((row["policy"], str(row["budget_units"])) for row in fitted) == [
        ("entropy", "2"), ("entropy", "6"), ("random", "2"), ("random", "6"), ("supervised", "all"),
    ]  # fmt: skip
    full = next(row for row in fitted if row["policy"] == "supervised")
    assert (full["units"], full["share"], full["images"], full["pixels"]) == (6 * 16, 1.0, 6, 6 * 96 * 128)
    plain = {row["miou"] for row in one.rows if row["game"] == "partial"}
    assert not plain & {row["miou"] for row in fitted}


def test_another_executor_plays_the_runs_in_its_own_order(play):
    def backwards(plan, jobs):
        player = Player(*pickle.loads(pickle.dumps((plan,))))
        for job in reversed(jobs):
            yield job, pickle.loads(pickle.dumps(player.play(pickle.loads(pickle.dumps(job)))))

    own, played = play("own", executor=backwards)
    assert [run.policy for run in played] == ["margin", "random"]
    assert bare(own) == bare(play("local")[0])


def test_a_comparison_goes_on_where_it_stopped_and_widens(play, tmp_path):
    whole, played = play("whole", draws=2)
    assert len(played) == 4 and played[-1].done == played[-1].total == 4
    part, _ = play("part")
    assert {row["seed"] for row in part.rows} == {0}
    wide, played = play("part", draws=2)
    assert [(run.policy, run.seed) for run in played] == [("random", 1), ("margin", 1)]
    assert bare(wide) == bare(whole)
    lines = (tmp_path / "part/results.csv").read_text().splitlines(keepends=True)
    lost = lines[1].split(",")[0]
    (tmp_path / "part/results.csv").write_text("".join([lines[0], *lines[2:]]))
    again, played = play("part", draws=2)
    assert [run.rows[0]["run_id"] for run in played] == [lost]
    assert bare(again) == bare(whole)
    _, played = play("part", draws=2)
    assert not played


def test_acquisitions_play_networks_too_narrow_for_the_features_that_they_do_not_read(play, tiny, learning):
    narrow = ("network.pyramid=4", "network.widths=[4,4,4,4,4]")
    with pytest.raises(RalsegError, match="above the width of the network's embedding; set 12 or less"):
        World(learning("features=embedding", *narrow)).check()
    found, _ = play(config=tiny(*narrow))
    assert {row["policy"] for row in found.rows} == {"random", "margin"}


def test_another_game_is_played_anew_and_not_mixed(play, tiny, tmp_path):
    play(policies=["random"])
    other, played = play(policies=["random"], config=tiny("game.learn.steps=1"))
    assert len(played) == 1 and len(other.rows) == 2
    with open(tmp_path / "comparison/results.csv") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_header_and_readings_of_test(play, tmp_path, tiny):
    results, _ = play(policies=["random"])
    assert not (tmp_path / "readings.csv").exists()
    play(policies=["random"], splits=["dev", "test"], why="the last word")
    play(policies=["random"], splits=["dev", "test"], why="nothing is read")
    header = (tmp_path / "comparison/results.csv").read_text().splitlines()[0]
    classes = World(tiny()).dataset.classes
    assert header == (
        "run_id,policy,training_seed,seed,game,loss,split,budget_units,units,pixels,share,images,clicks,"
        f"label_cost_of_policy,miou,{','.join(f'iou_{c}' for c in classes)},class_entropy,seconds_choosing,commit"
    )
    assert list(columns(classes)) == header.split(",")
    with open(tmp_path / "readings.csv") as file:
        (reading,) = csv.DictReader(file)
    assert (reading["why"], reading["policies"], reading["runs"]) == ("the last word", "random", "1")
    assert load_results(tmp_path / "comparison").rows == [
        row for row in load_results(tmp_path / "comparison").rows if row["run_id"] in results.comparison["run_ids"]
    ]


def test_an_empty_dev_is_left_out_and_said(play, tiny):
    config = tiny("protocol.counts={state: 5, train: 5, compare: 6, dev: 0}")
    results, _ = play(policies=["random"], config=config, splits=["dev", "test"], budgets=[2])
    assert {row["split"] for row in results.rows} == {"test"}
    assert results.comparison["notes"] == ["the protocol has no dev; it is left out"]
    with pytest.raises(RalsegError, match="the protocol has no dev; add test"):
        play(policies=["random"], config=config)


def test_a_budget_in_pixels_is_met_at_the_first_turn_that_reaches_it(play, tiny):
    results, _ = play(
        policies=["random"], config=tiny("game.budget_measure=pixels"), budgets=[1600, 4 * 768], splits=["dev"]
    )
    rows = {row["budget_units"]: row for row in results.rows}
    assert {budget: row["units"] for budget, row in rows.items()} == {1600: 4, 3072: 4}


def test_a_policy_made_elsewhere_is_compared_too(play):
    own = NamedPolicy("mine", FixedPolicy(make("margin")), identity="1")
    results, _ = play(policies=[own, "margin"], budgets=[4])
    mine, margin = ([row["miou"] for row in results.rows if row["policy"] == name] for name in ("mine", "margin"))
    assert mine == margin and len(mine) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws=0 is out of range"),
        ({"processes": 0}, "processes=0 is out of range"),
        ({"fit_draws": -1}, "fit.draws=-1 is out of range"),
        ({"budgets": [3, 6]}, "budget 3 is no multiple of game.slates=2"),
        ({"budgets": [1000]}, "budget 1000 is more than D_V has to offer in images with a label, 96 units"),
        ({"budgets": []}, "is not a list of numbers"),
        ({"splits": ["train"]}, "choose from \\[dev, test\\]"),
        ({"policies": ["rnd"]}, "policy 'rnd' is unknown; choose from random"),
        ({"policies": ["bald"]}, "bald needs a network with dropout"),
    ],
)
def test_bad_values_are_refused_before_anything_is_written(play, tmp_path, options, message):
    with pytest.raises(RalsegError, match=message):
        play(**options)
    assert not (tmp_path / "comparison").exists()


def test_bald_plays_on_a_network_with_dropout(play, tiny):
    results, _ = play(policies=["bald"], config=tiny("network.dropout=0.2"), budgets=[2])
    assert results.rows[0]["units"] == 2


def test_what_was_bought_is_json_without_surprises(play, tmp_path):
    results, _ = play(policies=["random"], budgets=[2])
    (path,) = (tmp_path / "comparison/bought").iterdir()
    record = json.loads(path.read_text())
    assert path.stem == results.rows[0]["run_id"] and len(record["units"]) == 2
    name, y, x, height, width = record["units"][0]
    assert name.startswith("street_") and (height, width) == (24, 32) and y % 24 == x % 32 == 0


MAXIMUM = {"entropy": {"reduction": "max"}}
SEEING = {"cost_aware": {"of": "class_truth"}}


def test_acquisitions_with_options_are_compared_and_not_played_again(play, tiny):
    policies = ["random", "entropy", MAXIMUM, SEEING]
    results, played = play(policies=policies)
    names = ["random", "entropy", "entropy(reduction=max)", "cost_aware(of=class_truth)"]
    assert results.comparison["policies"] == [run.policy for run in played] == names
    # What it is made of sees the truth, so does it.
    assert results.comparison["references"] == names[3:]
    bought = {row["policy"]: results.bought(row["run_id"])["units"] for row in results.rows}
    assert bought["entropy"] != bought["entropy(reduction=max)"]

    again, played = play(policies=policies)
    assert not played and bare(again) == bare(results)
    # The same formula under the same name is the same run, another option is not.
    wide, played = play(policies=[*policies, {"entropy": {"reduction": "sum"}}])
    assert [run.policy for run in played] == ["entropy(reduction=sum)"]
    assert set(bare(results)) < set(bare(wide))

    summary = summarise(results)
    assert {entry["policy"] for entry in summary["entries"] if entry["reference"]} == set(names[3:])
    _, *rows = cells(of_summary(summary)[-1])
    assert [row[0] for row in rows] == [*names[:3], "cost_aware(of=class_truth)*"]
    write_report(results, World(tiny()).dataset)
    assert "cost_aware(of=class_truth)\\*" in (results.folder / "summary.md").read_text()


def test_a_file_that_changes_is_another_policy_of_the_same_name(play, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("entropy: {reduction: max}")
    first, played = play(policies=[str(path)])
    assert [run.policy for run in played] == ["mine"]
    assert not play(policies=[str(path)])[1]
    path.write_text("margin:")
    changed, played = play(policies=[str(path)])
    assert [run.policy for run in played] == ["mine"]
    assert not set(changed.comparison["run_ids"]) & set(first.comparison["run_ids"])
    assert len(changed.rows) == len(first.rows)


def test_policies_that_are_no_list_are_refused(play, tmp_path):
    with pytest.raises(RalsegError, match=r"is not a list of names"):
        play(policies=MAXIMUM)
    assert not (tmp_path / "comparison").exists()


@pytest.mark.parametrize("unit", ["[24,32]", "image", "pixel"])
def test_the_whole_pool_is_compared_too(play, tiny, unit):
    """By one that scores and by a composition that looks image by image."""
    config = tiny("game.draw=pool", f"game.unit={unit}")
    stages = [{"by": {"max_herding": {"bandwidth": 0.5}}, "per_image": 3, "among": 50}, {"by": "edald"}]
    results, played = play(policies=["margin", {"stages": {"stages": stages}}], config=config)
    assert len(played) == 2
    assert sorted(row["units"] for row in results.rows) == [2, 2, 6, 6]
    for run in played:
        units = results.bought(run.rows[0]["run_id"])["units"]
        assert len({tuple(unit) for unit in units}) == len(units) == 6


def test_units_of_the_whole_pool_are_those_of_the_highest_score(play, tiny):
    results, _ = play(policies=["entropy"], config=tiny("game.draw=pool"), budgets=[2])
    game, policy = World(tiny("game.draw=pool")).game("compare", observed=False), FixedPolicy(make("entropy"))
    game.reset(0)
    candidates = game.view(policy.needs, False)
    # Nothing is void here: all 96 units are on offer.
    assert len(candidates) == 96
    highest = candidates.units[np.argsort(-policy.acquisition.score(candidates))[:2]]
    assert [tuple(u) for u in results.bought(results.rows[0]["run_id"])["units"]] == game.pool.records(highest)
