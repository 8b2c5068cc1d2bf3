from importlib import resources

import numpy as np
import pytest
import torch
import yaml
from scipy.spatial.distance import pdist

from ralseg.agents.acquisitions import FixedPolicy, make, names, parse
from ralseg.agents.acquisitions.compositions import CostAware, RankSum, Stage, Stages
from ralseg.agents.acquisitions.uncertainty import Entropy
from ralseg.foundation import RalsegError

ROWS = {
    "entropy mean": [1.0, 9, 3, 8, 2, 7],
    "margin": [0.5, 0.4, 0.3, 0.2, 0.1, 0.0],
    "embedding mean": np.array([[0.0], [1], [10], [11], [20], [5]]),
}
HALVES = [0, 0, 0, 1, 1, 1]
KEPT = "every stage but the last keeps either per_image or share, the last one neither of them"


@pytest.fixture
def choose(hand_made, offered):
    """The choice of some stages among six units."""

    def choose(stages, choices, seed=0, units=None, slates=None, **given):
        acquisition = make("stages", stages=stages)
        candidates = offered(hand_made(ROWS, **given), acquisition, units, slates, choices)
        return acquisition.select(candidates, choices, np.random.default_rng(seed)).tolist()

    return choose


def test_coverage_then_uncertainty(choose):
    """Of 0, 1, 10, 11, 20, 5 the centre 10 and the ends 0 and 20 are kept."""
    stages = [{"by": "coreset", "share": 0.5}, {"by": "entropy"}]
    assert choose(stages, 2) == [2, 4]
    assert choose(stages, 3) == [2, 4, 0]


def test_uncertainty_then_coverage(choose):
    """Of 1, 11 and 5 that of the middle is first, then the one farther from it."""
    assert choose([{"by": "entropy", "share": 0.5}, {"by": "coreset"}], 3) == [5, 3, 1]


def test_one_start_and_then_another_choice(hand_made, offered):
    """Of 0, 1, 10, 11, 20, 5 the centre is 10, and 0 is the first of the farthest; entropy is largest at 1 and 11."""
    acquisition = make("cold_start", first="coreset", then="entropy")
    found = []
    for counts in ([0, 0], [0, 1]):
        candidates = offered(hand_made(ROWS), acquisition)
        candidates.labelled_counts = np.array(counts)
        found.append(acquisition.select(candidates, 2, np.random.default_rng(0)).tolist())
    assert found == [[2, 0], [1, 3]]


def test_a_share_keeps_at_least_as_many_as_are_chosen(choose):
    assert choose([{"by": "entropy", "share": 0.1}, {"by": "margin"}], 1) == [1]
    assert choose([{"by": "entropy", "share": 0.1}, {"by": "margin"}], 3) == [5, 3, 1]
    assert choose([{"by": "entropy", "share": 1.0}, {"by": "margin"}], 2) == [5, 4]


def test_so_many_of_each_image(choose):
    stages = [{"by": "entropy", "per_image": 1}, {"by": "margin"}]
    assert choose(stages, 2, images=HALVES) == [3, 1]
    assert choose(stages, 5, images=HALVES) == [3, 1]
    assert choose([{"by": "entropy", "per_image": 2}, {"by": "margin"}], 2, images=HALVES) == [5, 3]
    # Coverage of each image alone: 10 and 0 of 0, 1, 10 would be 1 and 10; those nearest the means come first.
    assert choose([{"by": "coreset", "per_image": 1}, {"by": "entropy"}], 2, images=HALVES) == [1, 3]


def test_among_some_of_each_image(choose):
    """The best of two that are drawn of three is the highest in two cases of three, never the lowest."""
    stages = [{"by": "entropy", "per_image": 1, "among": 2}, {"by": "entropy"}]
    first, second = np.zeros(6), np.zeros(6)
    for seed in range(900):
        high, low = sorted(choose(stages, 2, seed, images=HALVES), key=lambda unit: unit > 2)
        first[high] += 1
        second[low] += 1
    for counts, best, middle in ((first, 1, 2), (second, 3, 5)):
        assert counts.sum() == counts[[best, middle]].sum() == 900
        assert abs(counts[best] - 600) < 4.5 * np.sqrt(900 * 2 / 9)
    assert choose([{"by": "entropy", "per_image": 1, "among": 9}, {"by": "entropy"}], 2, images=HALVES) == [1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_at_most_so_many_keep_their_share_each(choose, seed):
    """Half of six in three parts of two: the better one of each pair, whichever they are."""
    kept = choose([{"by": "entropy", "share": 0.5, "at_once": 2}, {"by": "margin"}], 3, seed)
    order = np.random.default_rng(seed).permutation(6)
    entropy = ROWS["entropy mean"]
    assert sorted(kept) == sorted(max(pair, key=lambda unit: entropy[unit]) for pair in order.reshape(3, 2).tolist())
    # One part is all of them.
    assert choose([{"by": "entropy", "share": 0.5, "at_once": 6}, {"by": "margin"}], 3, seed) == [5, 3, 1]


def test_a_projection_keeps_distances_and_is_the_same_everywhere(fake_game, offered):
    game = fake_game()
    game.features = 2 * torch.randn(len(game.features), 3000, 3, 4, generator=game.generator)
    whole, some = make("coreset").needs[0], make("coreset", numbers=400).needs[0]
    assert some.name == "embedding mean 400" and some.by_pixel
    rows, projected = (game.rows([reducer])[reducer.name] for reducer in (whole, some))
    assert projected.shape == (len(rows), 400) and projected.dtype == np.float32
    ratio = pdist(projected) / pdist(rows)
    assert abs(ratio.mean() - 1) < 0.03 and ratio.std() < 0.06
    again = game.rows([make("max_herding", numbers=400).needs[0]])["embedding mean 400"]
    assert (again == projected).all()
    few = make("coreset", numbers=5000).needs[0]
    assert (game.rows([few])[few.name] == rows).all()


def test_three_stages(choose):
    stages = [{"by": "entropy", "per_image": 2}, {"by": "margin", "share": 0.5}, {"by": "entropy"}]
    assert choose(stages, 1, images=HALVES) == [3]
    assert choose(stages, 2, images=HALVES) == [3, 5]


def test_what_stages_have_kept_is_not_filtered_again(choose):
    """Alone, a set method draws the candidates that it compares; among 1, 11 and 5 it compares all."""
    last = {"by": {"coreset": {"prefilter": 1}}}
    assert {tuple(choose([{"by": "entropy", "share": 0.5}, last], 1, seed)) for seed in range(20)} == {(5,)}
    assert len({tuple(choose([last], 1, seed)) for seed in range(20)}) > 1


def test_stages_within_stages(choose):
    inner = {"stages": {"stages": [{"by": "entropy", "share": 0.6}, {"by": "margin"}]}}
    assert choose([{"by": inner, "share": 0.5}, {"by": "entropy"}], 2) == [3, 5]


def test_stages_among_labelled_units(choose):
    """0 and 20 are bought: 10 is the farthest from both, then 5. Of images, what is bought in them counts."""
    open_units = [1, 2, 3, 5]
    chosen = choose([{"by": "entropy", "share": 0.9}, {"by": "coreset"}], 2, bought=[0, 4])
    assert [open_units[index] for index in chosen] == [2, 5]
    chosen = choose([{"by": "coreset", "per_image": 1}, {"by": "entropy"}], 2, images=HALVES, bought=[0, 4])
    assert [open_units[index] for index in chosen] == [5, 2]


def test_indices_are_those_of_the_candidates_given(choose):
    stages = [{"by": "entropy", "share": 0.5}, {"by": "margin"}]
    units = [5, 3, 0, 4, 1]
    assert [units[index] for index in choose(stages, 2, units=units)] == [3, 1]
    assert [
        units[i] for i in choose([{"by": "entropy", "per_image": 1}, {"by": "margin"}], 2, units=units, images=HALVES)
    ] == [3, 1]


def test_the_last_stages_selection_holds(choose):
    limited = {"entropy": {"selection": {"per_image": 1}}}
    assert choose([{"by": "margin", "share": 1.0}, {"by": limited}], 4, images=HALVES) == [1, 3]
    # An earlier one's holds for what it keeps.
    assert choose([{"by": limited, "share": 1.0}, {"by": "margin"}], 2, images=HALVES) == [3, 1]
    drawn = {"entropy": {"selection": {"stochastic": "softmax", "beta": 0.01}}}
    assert len({tuple(choose([{"by": "margin", "share": 0.5}, {"by": drawn}], 3, seed)) for seed in range(40)}) == 6


def test_a_selection_of_a_sum_of_ranks_holds(hand_made, offered):
    acquisition = make("rank_sum", of=["entropy", "margin"], selection={"per_image": 1})
    candidates = offered(hand_made(ROWS, images=HALVES), acquisition)
    # Ranks of the entropies are 1, 6, 3, 5, 2, 4, of the margins 1 to 6.
    assert acquisition.select(candidates, 4, np.random.default_rng(0)).tolist() == [5, 1]


def test_a_selection_of_all_stages_together_is_refused():
    """Units are chosen by the last stage; ties alone are broken before the first."""
    stages = [{"by": "entropy", "share": 0.5}, {"by": "margin"}]
    with pytest.raises(RalsegError, match="stages: set the selection on the last stage"):
        make("stages", stages=stages, selection={"per_image": 1})
    assert make("stages", stages=stages, selection={"ties": "lowest"}).selection.ties == "lowest"


def test_a_prefilter_is_for_the_first_stage_alone(fake_game, offered):
    """And for one that looks at all images together: what a stage has kept takes part in all that follow."""
    game, of_two = fake_game(), {"coreset": {"prefilter": 2}}
    for stages, kept in (
        ([{"by": of_two, "share": 1.0}, {"by": {"entropy": {"selection": {"per_image": 3}}}}], 12),
        ([{"by": "entropy", "per_image": 6}, {"by": of_two}], 24),
        ([{"by": "entropy", "per_image": 6}, {"by": of_two, "share": 1.0}, {"by": "entropy"}], 24),
        ([{"by": of_two, "per_image": 5}, {"by": "entropy"}], 20),
    ):
        acquisition = make("stages", stages=stages)
        assert len(acquisition.select(offered(game, acquisition), 48, np.random.default_rng(0))) == kept


@pytest.mark.parametrize("keeps", [{"share": 0.5}, {"per_image": 3}])
def test_no_slate_is_emptied(keeps, hand_made, viewed):
    """The first stage keeps units of the first two slates alone, and so the best of the third besides."""
    rows = {"entropy mean": [9.0, 8, 7, 1, 2, 3], "margin": [0.1, 0, 0.9, 0, 0, 0.5]}
    acquisition = make("stages", stages=[{"by": "entropy", **keeps}, {"by": "margin"}])
    view = viewed(hand_made(rows), acquisition, [[0, 1, -1], [2, 3, -1], [4, -1, 5], [-1, -1, -1]])
    for seed in range(10):
        assert FixedPolicy(acquisition).select(view, np.random.default_rng(seed)).tolist() == [1, 0, 2, -1]


def test_ties_of_stages_are_broken_at_random(hand_made, viewed):
    rows = {"entropy mean": np.ones(6), "margin": np.ones(6)}
    for keeps in ({"share": 0.5}, {"per_image": 3}):
        acquisition = make("stages", stages=[{"by": "entropy", **keeps}, {"by": "margin"}])
        view, counts = viewed(hand_made(rows), acquisition, [range(6)], choices=1), np.zeros(6)
        for seed in range(900):
            counts[FixedPolicy(acquisition).select(view, np.random.default_rng(seed))] += 1
        assert np.abs(counts - 150).max() < 4.5 * np.sqrt(900 * 5 / 36)


def test_sums_of_ranks(hand_made, offered):
    """Equal scores share the mean of their ranks."""
    rows = {"entropy mean": [1.0, 1, 2, 0], "margin": [0.2, 0.2, 0.2, 0.1], "confidence": [0.9, 0.8, 0.7, 0.6]}
    of = ["entropy", "margin", "least_confidence"]
    entropy, margin, confidence = np.array([[2.5, 2.5, 4, 1], [2, 2, 2, 4], [1, 2, 3, 4]]) / 4
    for weights, expected in (
        (None, entropy + margin + confidence),
        ([1, 0, 0], entropy),
        ([0.5, 2, 1.0], 0.5 * entropy + 2 * margin + confidence),
    ):
        acquisition = make("rank_sum", of=of, weights=weights)
        score = acquisition.score(offered(hand_made(rows), acquisition))
        np.testing.assert_allclose(score, expected, rtol=1e-12)


def test_what_a_label_costs(hand_made, offered):
    rows = {
        "entropy mean": [1.0, 0.9, 0.6, 0.0],
        "margin": [0.5, 0.2, 1.0, 0.0],
        "predicted_shares": [[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0, 1, 0], [0.2, 0.2, 0.6]],
        "predicted_clicks": [20, 9, 1, 30],
    }
    game = hand_made(rows, boxes=[[0, 0, 2, 2], [0, 0, 1, 3], [0, 0, 1, 2], [0, 0, 5, 5]])
    for options, expected in (
        ({}, [1 / 3, 0.45, 0.6, 0]),
        ({"cost": "polygon"}, [0.05, 0.1, 0.6, 0]),
        ({"cost": "pixels"}, [0.25, 0.3, 0.3, 0]),
        # A margin of 1 counts as 0, one of 0 as 1.
        ({"of": "margin"}, [0.5 / 3, 0.4, 0, 1 / 3]),
        ({"of": {"rank_sum": {"of": ["entropy"]}}, "cost": "pixels"}, [1 / 4, 0.25, 0.25, 0.01]),
    ):
        acquisition = make("cost_aware", **options)
        np.testing.assert_allclose(acquisition.score(offered(game, acquisition)), expected, rtol=1e-6)
    assert [reducer.name for reducer in make("cost_aware", cost="pixels").needs] == ["entropy mean"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cost_aware", {"of": "balanced_entropy"}, "cost_aware: balanced_entropy has no scores with a lowest value"),
        ("cost_aware", {"of": "coreset"}, "cost_aware: coreset has no scores with a lowest value"),
        ("cost_aware", {"of": "two_stage_edald"}, "cost_aware: stages has no scores with a lowest value"),
        ("cost_aware", {"cost": "hours"}, "cost_aware.cost='hours' is unknown; choose from clicks, polygon, pixels"),
        ("cost_aware", {"of": ["entropy"]}, "cost_aware.of is .* must be a group"),
        ("rank_sum", {"of": []}, "rank_sum: give one acquisition or more in `of`"),
        ("rank_sum", {"of": ["entropy"], "weights": [1, 2]}, "rank_sum: give one .* as many weights, or none"),
        ("rank_sum", {"of": ["entropy", "badge"]}, "rank_sum: badge chooses sets and has no scores; use it in stages"),
        ("rank_sum", {"of": ["two_stage_edald"]}, "rank_sum: stages chooses sets and has no scores"),
        ("rank_sum", {"of": "entropy"}, "rank_sum.of=.* must be a list of values"),
        (
            "rank_sum",
            {"of": ["entropy", "power_bald"]},
            "rank_sum: the selection of power_bald would be ignored; set it on rank_sum itself",
        ),
        (
            "cost_aware",
            {"of": {"entropy": {"selection": {"per_image": 2}}}},
            "cost_aware: the selection of entropy would be ignored; set it on cost_aware itself",
        ),
        ("rank_sum", {}, "rank_sum needs of; give it, too"),
        ("rank_sum", {"of": ["entropie"]}, "acquisition 'entropie' is unknown; choose from random, "),
        (
            "rank_sum",
            {"of": [{"entropy": {"reduce": "max"}}]},
            "entropy.reduce is unknown; entropy has selection, reduc",
        ),
        ("rank_sum", {"of": [["entropy"]]}, r"acquisition \['entropy'\]: write a name, or"),
        ("stages", {}, "stages needs stages; give it, too"),
        ("stages", {"stages": []}, KEPT),
        ("stages", {"stages": [{"by": "entropy", "share": 0.5}]}, KEPT),
        ("stages", {"stages": [{"by": "entropy"}, {"by": "margin"}]}, KEPT),
        ("stages", {"stages": [{"by": "entropy", "share": 0.5, "per_image": 2}, {"by": "margin"}]}, KEPT),
        (
            "stages",
            {"stages": [{"by": "entropy", "share": 0.0}, {"by": "margin"}]},
            r"^stages.stages\[0\].share=0.0 is out of range",
        ),
        (
            "stages",
            {"stages": [{"by": "entropy", "share": 1.5}, {"by": "margin"}]},
            r"^stages.stages\[0\].share=1.5 is out of range",
        ),
        (
            "stages",
            {"stages": [{"by": "entropy", "per_image": 0}, {"by": "margin"}]},
            r"^stages.stages\[0\].per_image=0 is out of range",
        ),
        (
            "stages",
            {"stages": [{"by": "entropy", "per_image": 1, "among": 0}, {"by": "margin"}]},
            r"^stages.stages\[0\].among=0 is out",
        ),
        (
            "stages",
            {"stages": [{"by": "entropy", "share": 0.1, "among": 5}, {"by": "margin"}]},
            "among is for stages with",
        ),
        ("stages", {"stages": [{"by": 5}]}, "acquisition 5: write a name, or"),
        ("stages", {"stages": [{"with": "entropy"}]}, r"stages.stages\[0\].with is unknown; .* has by, per_image"),
        ("stages", {"stages": ["entropy"]}, r"stages.stages\[0\] is 'entropy'; it must be a group of by, per_image"),
        ("stages", {"stages": [{"share": 0.5}, {"by": "entropy"}]}, r"stages.stages\[0\] needs by; give it, too"),
    ],
)
def test_compositions_that_make_no_sense(name, options, message):
    with pytest.raises(RalsegError, match=message):
        make(name, **options)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "entropie",
            "acquisition 'entropie' is unknown; choose from random, .*then_coverage, stages, cold_start, rank_sum",
        ),
        ({"entropie": {}}, "acquisition 'entropie' is unknown"),
        ({"entropy": {"draws": 3}}, "entropy.draws is unknown; entropy has selection, reduction, as_released"),
        ({"entropy": {"reduction": "median"}}, "entropy.reduction='median' is unknown; choose from mean, sum, max"),
        ({"entropy": {"name": "x"}}, "entropy.name is unknown"),
        ({"entropy": {1: 2}}, "write a name, or"),
        ({"bald": {"noise": {"kind": "dropout"}}}, "bald.noise needs draws; give it, too"),
        ({"bald": {"noise": 20}}, "bald.noise is 20; it must be a group of kind, draws, scale"),
        (
            {"two_stage_edald": {"prefilter": 3}},
            "'two_stage_edald' is a composition and takes no prefilter; write out its parts",
        ),
        ({"entropy": {}, "margin": {}}, r"write a name, or \{name: \{option: value\}\}"),
        ({"entropy": "max"}, "write a name, or"),
        ({"entropy": ["max"]}, "write a name, or"),
        ({3: {}}, "write a name, or"),
        ({}, "write a name, or"),
        (["entropy"], "write a name, or"),
        (None, "acquisition None: write a name, or"),
    ],
)
def test_entries_that_are_none(entry, message):
    with pytest.raises(RalsegError, match=message):
        parse(entry)


def test_entries():
    assert parse("entropy") == parse({"entropy": None}) == parse({"entropy": {}}) == make("entropy") == Entropy()
    assert parse({"entropy": {"reduction": "max"}}) == make("entropy", reduction="max") == Entropy(reduction="max")
    nested = parse(
        {"rank_sum": {"of": ["margin", {"cost_aware": {"of": {"entropy": {"reduction": "max"}}}}], "weights": [1, 2]}}
    )
    assert isinstance(nested, RankSum)
    assert nested.weights == (1.0, 2.0)
    assert nested.of[1] == CostAware(of=Entropy(reduction="max"))
    stages = parse({"stages": {"stages": [{"by": "entropy", "share": 1}, {"by": {"bald": None}}]}})
    assert stages == Stages(stages=(Stage(by=Entropy(), share=1.0), Stage(by=make("bald"))))


def test_the_compositions_of_the_configuration(fake_game, viewed):
    files = list((resources.files("ralseg.configs") / "acquisition").iterdir())
    assert len(files) >= 3
    for file in files:
        name, suffix = file.name.rsplit(".", 1)
        assert suffix == "yaml"
        assert name in names()
        acquisition = make(name)
        assert acquisition == parse(name) == parse(yaml.safe_load(file.read_text()))
        game = fake_game()
        choice = FixedPolicy(acquisition).select(
            viewed(game, acquisition, [range(48)], choices=10), np.random.default_rng(0)
        )
        assert len(set(choice.tolist())) == 10


def test_the_two_stages_of_edald():
    """50 of each image, then half of all, by MaxHerding; of those the most uncertain."""
    first, second, last = make("two_stage_edald").stages
    assert (first.by, first.per_image, first.share) == (make("max_herding"), 50, None)
    assert (second.by, second.per_image, second.share) == (make("max_herding"), None, 0.5)
    assert last == Stage(by=make("edald"))


def test_a_stage_that_looks_at_nothing_saves_the_passes_of_what_it_drops(hand_made, offered):
    game = hand_made(ROWS, groups=HALVES, frames=[0, 1, 2] * 2)
    asked, reduce = [], game.reduce
    game.reduce = lambda units, reducers: asked.append(units.tolist()) or reduce(units, reducers)
    for first in ({"random": {"selection": {"every": 2}}}, {"uniform_in_time": {"selection": {"every": 2}}}):
        acquisition = make("stages", stages=[{"by": first, "share": 1}, {"by": "entropy"}])
        candidates = offered(game, acquisition)
        # Entropies are 1, 3, 8 and 7 of the images 0 and 2 of both groups.
        assert acquisition.select(candidates, 3, np.random.default_rng(0)).tolist() == [3, 5, 2]
        assert asked.pop() == [0, 2, 3, 5] and not asked
    acquisition = make("stages", stages=[{"by": "margin", "share": 0.5}, {"by": "entropy"}])
    acquisition.select(offered(game, acquisition), 3, np.random.default_rng(0))
    assert asked == [[0, 1, 2, 3, 4, 5]]
