import dataclasses
import itertools

import numpy as np
import pytest

from ralseg.agents.acquisitions import FixedPolicy, Selection, make
from ralseg.agents.acquisitions.selection import Quotas, best, evenly, in_proportion
from ralseg.foundation import RalsegError

ROW = "entropy mean"
SETTINGS = [
    {"per_image": 2},
    {"per_group": True},
    {"per_class": True},
    {"separation": 4},
    {"every": 2},
    {"stochastic": "power", "beta": 2.0},
    {"top_share": 0.3, "ties": "lowest"},
]


@pytest.fixture
def scored(hand_made, offered):
    """Candidates with given scores for `entropy` with a selection, and their choice."""

    def scored(selection, score, name="entropy", row=ROW, shares=None, **given):
        acquisition = make(name, selection=selection)
        rows = {row: score} if shares is None else {row: score, "predicted_shares": shares}
        candidates = offered(hand_made(rows, **given), acquisition)
        return lambda choices, rng=None: acquisition.select(candidates, choices, rng).tolist()

    return scored


def test_every_field_is_tested():
    for option in dataclasses.fields(Selection):
        assert any(given.get(option.name, option.default) != option.default for given in SETTINGS), option.name


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_hold_in_every_acquisition(setting, fake_game, offered):
    """Those with scores take all of them, sets those that are no matter of scores."""
    game = fake_game()
    for name in ("entropy", "coreset", "badge", "class_aware_random", "k_means_plus_plus", "typiclust", "max_herding"):
        if name != "entropy" and ("stochastic" in setting or "top_share" in setting):
            with pytest.raises(RalsegError, match=f"{name}: there are no scores for selection.stochastic or top_share"):
                make(name, selection=setting)
            continue
        acquisition = make(name, selection=setting)
        candidates = offered(game, acquisition)
        chosen = acquisition.select(candidates, 8, np.random.default_rng(0))
        images, boxes = candidates.images[chosen], candidates.boxes[chosen]
        counts = np.bincount(images - 20, minlength=4)
        assert len(chosen) == 8
        assert set(candidates.images) == {20, 21, 22, 23}
        if "per_image" in setting:
            assert counts.tolist() == [2, 2, 2, 2]
        if "per_group" in setting:
            assert (counts[0] + counts[1], counts[2] + counts[3]) == (4, 4)
        if "per_class" in setting:
            classes = candidates.reduced("predicted_shares").argmax(1)
            _, quotas = evenly(classes, 8)
            assert np.bincount(classes[chosen])[np.unique(classes)].tolist() == quotas.tolist()
        if "every" in setting:
            assert counts[1] + counts[3] == 0
        if "separation" in setting:
            assert all(
                images[a] != images[b] or gap(boxes[a], boxes[b]) > 4 for a, b in itertools.combinations(range(8), 2)
            )


def gap(one, other):
    """Pixels from centre to centre along the longer side."""
    return max(
        abs((a + c / 2) - (b + d / 2)) for a, b, c, d in zip(one[:2], other[:2], one[2:], other[2:], strict=True)
    )


def test_at_most_so_many_of_an_image(scored):
    select = scored({"per_image": 1}, [3.0, 5, 4, 1, 2], images=[7, 7, 7, 9, 9])
    assert select(4) == [1, 4]
    assert scored({"per_image": 2}, [3.0, 5, 4, 1, 2], images=[7, 7, 7, 9, 9])(4) == [1, 2, 4, 3]


@pytest.mark.parametrize(
    ("sizes", "choices", "quotas"),
    [
        ((5, 3, 2), 4, (2, 1, 1)),
        # 1.33 of each is rounded down, the last one takes what is left.
        ((3, 3, 3), 4, (1, 1, 2)),
        # 1.71 of the first two are rounded up, nothing is left.
        ((3, 3, 1), 4, (2, 2, 0)),
        # Rounded up three times, more than all: none of the last.
        ((4, 4, 4, 1), 2, (1, 1, 1, 0)),
        # Halves go to the even number, as Python's round.
        ((5, 5), 1, (0, 1)),
        ((3, 1), 2, (2, 0)),
        ((4,), 3, (3,)),
        ((2, 2), 0, (0, 0)),
    ],
)
def test_shares_of_groups(sizes, choices, quotas, scored):
    groups = np.repeat([4, 11, 30, 31][: len(sizes)], sizes)
    number, found = in_proportion(groups, choices)
    assert number.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()
    assert (found.dtype, tuple(found.tolist())) == (np.int64, quotas)
    score = np.random.default_rng(0).random(len(groups))
    chosen = scored({"per_group": True}, score, groups=groups)(choices)
    slow = []
    for index in np.argsort(-score):
        if sum(groups[i] == groups[index] for i in slow) < quotas[number[index]] and len(slow) < choices:
            slow.append(index)
    assert chosen == slow


CITIES = {
    # city -> (images of Cityscapes, STAL's first 30, its next 35, or its next 120)
    "aachen": (174, 1, 2, 7), "bochum": (96, 0, 1, 4), "bremen": (316, 3, 4, 13), "cologne": (154, 0, 2, 6),
    "darmstadt": (85, 2, 1, 3), "dusseldorf": (221, 2, 3, 9), "erfurt": (109, 1, 1, 4), "hamburg": (248, 9, 3, 10),
    "hanover": (196, 2, 2, 8), "jena": (119, 0, 1, 5), "krefeld": (99, 0, 1, 4), "monchengladbach": (94, 1, 1, 4),
    "strasbourg": (365, 4, 4, 15), "stuttgart": (196, 2, 2, 8), "tubingen": (144, 1, 2, 6), "ulm": (95, 0, 1, 4),
    "weimar": (142, 1, 2, 6), "zurich": (122, 1, 2, 4),
}  # fmt: skip


@pytest.mark.parametrize(("choices", "column"), [(35, 2), (120, 3)])
def test_the_city_counts_of_stals_released_lists(choices, column, scored):
    """Counted in the lists of 65 and of 150 images, the same for GTAV and SYNTHIA, less the first 30."""
    left = [size - first for size, first, *_ in CITIES.values()]
    groups = np.repeat(np.arange(len(CITIES)), left)
    chosen = scored({"per_group": True}, np.random.default_rng(0).random(len(groups)), groups=groups)(choices)
    assert np.bincount(groups[chosen], minlength=18).tolist() == [city[column] for city in CITIES.values()]


def test_shares_of_groups_are_stals(scored):
    """k = round(n x size / all) of each city, the last one what is left."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        groups = rng.permutation(np.repeat(np.arange(6), rng.integers(1, 40, 6)))
        choices, expected = int(rng.integers(0, 30)), []
        left = choices
        for group in range(5):
            expected.append(round(choices * float((groups == group).sum()) / len(groups)))
            left -= expected[-1]
        assert in_proportion(groups, choices)[1].tolist() == [*expected, max(0, left)]


@pytest.mark.parametrize(
    ("sizes", "choices", "quotas"),
    [
        ((1, 5, 6), 7, (1, 3, 3)),
        ((1, 5, 6), 8, (1, 3, 4)),
        ((6, 1, 5), 8, (4, 1, 3)),
        ((2, 2, 9), 4, (1, 1, 2)),
        ((2, 2, 9), 99, (2, 2, 9)),
        ((3, 3), 0, (0, 0)),
        ((5,), 2, (2,)),
    ],
)
def test_classes_share_evenly(sizes, choices, quotas, scored):
    classes = np.repeat([3, 0, 5][: len(sizes)], sizes)
    order = np.argsort([3, 0, 5][: len(sizes)])
    number, found = evenly(classes, choices)
    assert tuple(found[np.argsort(order)].tolist()) == quotas
    assert np.unique(classes)[number].tolist() == classes.tolist()
    # A unit is of the class that it is predicted to be most of.
    shares = np.full((len(classes), 6), 0.08)
    shares[np.arange(len(classes)), classes] = 0.6
    chosen = scored({"per_class": True}, np.random.default_rng(0).random(len(classes)), shares=shares)(choices)
    assert np.bincount(classes[chosen], minlength=6)[[3, 0, 5][: len(sizes)]].tolist() == list(quotas)


def test_even_shares_are_as_even_as_sizes_allow():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(1, 12, rng.integers(1, 7))
        choices = int(rng.integers(0, 50))
        _, quotas = evenly(np.repeat(np.arange(len(sizes)), sizes), choices)
        assert quotas.sum() == min(choices, sizes.sum())
        assert (quotas <= sizes).all()
        left = quotas[quotas < sizes]
        # Who could have more has as many as anyone, or one less: then the others are as large or larger.
        assert not len(left) or quotas.max() - left.min() <= 1
        for a, b in itertools.permutations(range(len(sizes)), 2):
            assert quotas[a] >= quotas[b] or quotas[a] == sizes[a] or sizes[a] <= sizes[b]


def test_units_of_an_image_keep_apart(scored):
    """Centres at 2, 6, 10 and, of a unit cut at the border, 12.5: pixels 0-3, 4-7, 8-11, 12."""
    boxes = [[0, 0, 4, 4], [0, 4, 4, 4], [0, 8, 4, 4], [0, 12, 4, 1], [0, 4, 4, 4]]
    images = [0, 0, 0, 0, 1]
    for separation, expected in (
        (0, [1, 4, 0, 2, 3]),
        (2, [1, 4, 0, 2, 3]),
        (3, [1, 4, 0, 2]),
        (4, [1, 4, 3]),
        (6, [1, 4, 3]),
        (7, [1, 4]),
    ):
        assert scored({"separation": separation}, [3.0, 9, 2, 1, 5], images=images, boxes=boxes)(5) == expected
    # Down as well as to the side.
    boxes = [[0, 0, 4, 4], [8, 4, 4, 4], [4, 4, 4, 4]]
    assert scored({"separation": 4}, [3.0, 1, 2], boxes=boxes)(3) == [0, 1]


def slow_choice(score, choices, selection, images, groups, boxes, classes):
    """One after the other, every rule looked up in what is chosen already."""
    chosen, (_, of_groups), (_, of_classes) = [], in_proportion(groups, choices), evenly(classes, choices)
    of_groups, of_classes = (
        dict(zip(np.unique(names).tolist(), quotas.tolist(), strict=True))
        for names, quotas in ((groups, of_groups), (classes, of_classes))
    )

    def allowed(index):
        def had(names):
            return sum(names[i] == names[index] for i in chosen)

        return not (
            index in chosen
            or score[index] == -np.inf
            or (selection.per_image is not None and had(images) >= selection.per_image)
            or (selection.per_group and had(groups) >= of_groups[groups[index]])
            or (selection.per_class and had(classes) >= of_classes[classes[index]])
            or (
                selection.separation is not None
                and any(
                    images[i] == images[index] and gap(boxes[i], boxes[index]) <= selection.separation for i in chosen
                )
            )
        )

    while len(chosen) < choices and (left := [i for i in range(len(score)) if allowed(i)]):
        chosen.append(max(left, key=lambda i: (score[i], -i)))
    return chosen


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_several_settings_at_once(seed, pixels, hand_made, offered):
    rng = np.random.default_rng(seed)
    images, side, count = rng.integers(0, 4, 90), 1 if pixels else 3, 90
    places = np.stack(np.unravel_index(rng.choice(144, count, replace=False), (12, 12)), axis=1)
    boxes = np.concatenate([places * side, rng.integers(1, side + 1, (count, 2))], axis=1)
    classes = rng.integers(0, 5, count)
    score = rng.integers(0, 12, count).astype(float)
    score[rng.random(count) < 0.1] = -np.inf
    for per_image, per_group, per_class, separation in itertools.product(
        (None, 3), (False, True), (False, True), (None, 2)
    ):
        selection = Selection(per_image, per_group, per_class, separation)
        acquisition = make("entropy", selection=selection)
        game = hand_made(
            {ROW: score, "predicted_shares": np.eye(5)[classes]}, images=images, groups=images // 2, boxes=boxes
        )
        for choices in (0, 1, 10, 100):
            expected = slow_choice(score, choices, selection, images, images // 2, boxes, classes)
            assert acquisition.select(offered(game, acquisition), choices, rng).tolist() == expected


class Closed:
    """At most one of each of some overlapping sets."""

    def __init__(self, size, sets):
        self.open, self.sets = np.ones(size, bool), sets

    def take(self, index):
        self.open[index] = False
        for members in self.sets:
            if index in members:
                self.open[list(members)] = False


def slow_best(score, choices, limits):
    found, open_ = [], limits.open & (score > -np.inf)
    while len(found) < choices and open_.any():
        top = score[open_].max()
        found.append(int(np.flatnonzero(open_ & (score == top))[0]))
        limits.take(found[-1])
        open_ &= limits.open
    return found


@pytest.mark.parametrize("seed", range(10))
def test_the_best_under_any_limits(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    score = rng.integers(-3, 4, size).astype(float)
    score[rng.random(size) < 0.2] = -np.inf
    sets = [set(rng.choice(size, rng.integers(1, size + 1), replace=False).tolist()) for _ in range(3)]
    for choices in (0, 1, 5, size, size + 9):
        found = best(score.copy(), choices, Closed(size, sets))
        assert found.dtype == np.int64
        assert found.tolist() == slow_best(score, choices, Closed(size, sets))


@pytest.mark.parametrize("kinds", [2, 50, 10**9])
def test_the_best_where_limits_close_most_of_the_leading_ones(kinds):
    """Only a few leading scores are sorted; those are of one group, which is full after two."""
    rng = np.random.default_rng(kinds)
    size = 6000
    score = rng.integers(0, kinds, size).astype(float)
    score[rng.random(size) < 0.05] = -np.inf
    groups = np.full(size, 3)
    order = np.argsort(-score, kind="stable")
    groups[order[4000:]] = rng.integers(4, 400, 2000)
    for choices in (3, 30, 300, 5000):
        limits, again = Quotas(size), Quotas(size)
        for quotas in (limits, again):
            quotas.allow(groups, 2)
        found = best(score, choices, limits)
        assert found.tolist() == slow_best(score, choices, again)
        assert len(found) > 2
        assert np.bincount(groups[found]).max() == 2


def test_the_best_of_nothing():
    assert best(np.empty(0), 3, Quotas(0)).tolist() == []
    assert best(np.full(4, -np.inf), 3, Quotas(4)).tolist() == []
    limits = Quotas(3)
    limits.open[1] = False
    assert best(np.array([1.0, 5, 1]), 3, limits).tolist() == [0, 2]
    with pytest.raises(RalsegError, match="the score of a candidate is NaN"):
        best(np.array([1, np.nan]), 1, Quotas(2))


def test_limits_by_hand():
    limits = Quotas(5)
    limits.allow(np.array([8, 8, 2, 2, 2]), np.array([0, 0, 2, 0, 0, 0, 0, 0, 1]))
    assert limits.open.all()
    limits.take(1)
    assert limits.open.tolist() == [False, False, True, True, True]
    limits.take(4)
    assert limits.open.tolist() == [False, False, True, True, False]
    limits.take(2)
    assert not limits.open.any()
    limits = Quotas(3)
    limits.allow(np.array([0, 1, 1]), np.array([1, 0]))
    assert limits.open.tolist() == [True, False, False]


DRAWS = 6000
WEIGHTS = {
    "power": lambda score, beta: score**beta,
    "softmax": lambda score, beta: np.exp(beta * score),
    "softrank": lambda score, beta: (1.0 + np.argsort(np.argsort(-score))) ** -beta,
}


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_chances_are_those_of_draws_without_replacement(kind, beta, scored):
    score = np.array([0.4, 0.1, 0.9, 0.3])
    weight = WEIGHTS[kind](score, beta)
    select, rng = scored({"stochastic": kind, "beta": beta}, score), np.random.default_rng(0)
    pairs = np.zeros((4, 4))
    for _ in range(DRAWS):
        pairs[tuple(select(2, rng))] += 1 / DRAWS
    chance = weight / weight.sum()
    expected = chance[:, None] * np.where(np.eye(4, dtype=bool), 0, weight) / (weight.sum() - weight)[:, None]
    deviation = np.sqrt(np.maximum(expected * (1 - expected), 1 / DRAWS) / DRAWS)
    assert (np.abs(pairs - expected) < 4.5 * deviation).all()
    first = pairs.sum(1)
    assert (np.abs(first - chance) < 4.5 * np.sqrt(np.maximum(chance * (1 - chance), 1 / DRAWS) / DRAWS)).all()


def test_of_equal_scores_the_first_has_the_better_rank():
    score = np.repeat([1.0, 3.0, 2.0], 400)
    found = Selection(stochastic="softrank").preference(score, 0.0, None, np.random.default_rng(0))
    rank = np.concatenate([np.arange(801, 1201), np.arange(1, 401), np.arange(401, 801)])
    np.testing.assert_allclose(found, np.random.default_rng(0).gumbel(size=1200) - np.log(rank))


@pytest.mark.parametrize("name", ["margin", "least_confidence"])
def test_the_lowest_score_is_that_of_a_certain_prediction(name, hand_made, offered):
    rows = {"margin": [1.0, 0.25], "confidence": [1.0, 0.5]}
    acquisition = make(name)
    assert acquisition.score(offered(hand_made(rows), acquisition, None, None, 1)).min() == acquisition.lowest


def test_power_counts_from_the_lowest_that_a_score_can_be(scored):
    """Margin scores lie in [-1, 0]; a candidate with the lowest score, -1, comes last."""
    select = scored({"stochastic": "power"}, [0.9, 0.4, 1.0], name="margin", row="margin")
    rng, first = np.random.default_rng(0), np.zeros(3)
    for _ in range(DRAWS):
        chosen = select(3, rng)
        assert chosen[-1] == 2
        first[chosen[0]] += 1 / DRAWS
    np.testing.assert_allclose(first, [0.1 / 0.7, 0.6 / 0.7, 0], atol=0.02)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_without_noise_the_highest_score_wins(kind, scored):
    score = np.random.default_rng(0).permutation(30) + 1.0
    expected = np.argsort(-score).tolist()
    select = scored({"stochastic": kind, "beta": 1e5}, score)
    assert [select(30, np.random.default_rng(seed)) for seed in range(10)] == [expected] * 10


def test_power_bald_is_bald_by_chance(fake_game, offered):
    game, bald, power = fake_game(), make("bald"), make("power_bald")
    assert power.selection == Selection(stochastic="power")
    np.testing.assert_array_equal(power.score(offered(game, power)), bald.score(offered(game, bald)))
    chosen = [power.select(offered(game, power), 4, np.random.default_rng(seed)).tolist() for seed in range(5)]
    assert len({tuple(units) for units in chosen}) > 1


@pytest.mark.parametrize("name", ["power_bald", "power_dald", "power_edald"])
def test_other_options_keep_the_selection_of_a_power_variant(name):
    assert make(name, selection={"per_image": 2}).selection == Selection(per_image=2, stochastic="power")
    assert make(name, selection={"beta": 4, "stochastic": "softmax"}).selection == Selection(
        stochastic="softmax", beta=4.0
    )
    assert make(name, selection={"stochastic": None}).selection == Selection()


def test_chance_in_the_top_of_each_image(scored):
    """0.2 of 10 and of 15 candidates are the 2 and the 3 with the highest scores, ties to the first."""
    rng = np.random.default_rng(0)
    images = rng.permutation(np.repeat([5, 8], [10, 15]))
    score = rng.permutation(25).astype(float)
    score[images == 8] += 100
    tops = {image: [i for i in np.argsort(-score) if images[i] == image][:count] for image, count in ((5, 2), (8, 3))}
    select, top = scored({"top_share": 0.2}, score, images=images), {*tops[5], *tops[8]}
    counts = np.zeros(25)
    for _ in range(DRAWS):
        counts[select(1, rng)] += 1 / DRAWS
    assert set(np.flatnonzero(counts)) == top
    np.testing.assert_allclose(counts[list(top)], 0.2, atol=4.5 * np.sqrt(0.2 * 0.8 / DRAWS))
    # The others are not chosen even where the top is used up.
    assert set(select(25, rng)) == top
    each = scored({"top_share": 0.2, "per_image": 1}, score, images=images)
    pairs = {tuple(sorted(each(9, rng))) for _ in range(200)}
    assert pairs == {tuple(sorted(pair)) for pair in itertools.product(tops[5], tops[8])}


def test_the_top_of_few_candidates_is_one(scored):
    select = scored({"top_share": 0.01}, [1.0, 3, 2, 3], images=[0, 0, 0, 0])
    assert select(4, np.random.default_rng(0)) == [1]
    every = scored({"top_share": 1.0}, [1.0, 3, 2, 3])
    assert {tuple(every(4, np.random.default_rng(seed))) for seed in range(300)} == set(
        itertools.permutations(range(4))
    )


@pytest.mark.parametrize("whole", [False, True])
def test_ties(whole, hand_made, viewed):
    """In a slate or a pool: all equal ones alike, or the first place."""
    units = [[4, 1, 3, 0]]
    found = {}
    for ties in ("random", "lowest"):
        acquisition = make("entropy", selection={"ties": ties})
        game = hand_made({ROW: [2.0, 1, 9, 2, 2]})
        view = viewed(game, acquisition, units, choices=1 if whole else None)
        counts = np.zeros(4)
        for seed in range(900):
            counts[FixedPolicy(acquisition).select(view, np.random.default_rng(seed))] += 1
        found[ties] = counts
    assert found["lowest"].tolist() == [900, 0, 0, 0]
    assert found["random"][1] == 0
    assert np.abs(found["random"][[0, 2, 3]] - 300).max() < 4.5 * np.sqrt(900 * 2 / 9)


@pytest.mark.parametrize("name", ["entropy", "coreset"])
def test_limits_hold_beside_slates(name, hand_made, viewed):
    """One of each slate, and here one of each image: slates whose images are used up stay empty."""
    acquisition = make(name, selection={"per_image": 1, "ties": "lowest"})
    game = hand_made(
        {ROW: [5.0, 4, 3, 2, 1, 0], "embedding mean": np.arange(12).reshape(6, 2)}, images=[0, 0, 0, 0, 1, 1]
    )
    choice = FixedPolicy(acquisition).select(
        viewed(game, acquisition, [[0, 1], [2, 3], [4, 5]]), np.random.default_rng(0)
    )
    assert (choice >= 0).sum() == 2
    assert choice[2] >= 0
    if name == "entropy":
        assert choice.tolist() == [0, -1, 0]


def test_what_a_selection_needs():
    assert [reducer.name for reducer in make("margin", selection={"per_class": True}).needs] == [
        "margin",
        "predicted_shares",
    ]
    assert [reducer.name for reducer in make("margin", selection={"per_image": 1}).needs] == ["margin"]
    alone = make("class_aware_random", selection={"per_class": True})
    assert [reducer.name for reducer in alone.needs] == ["predicted_shares"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"per_image": 0}, r"selection.per_image=0 is out of range; it must be 1 or more"),
        ({"separation": -1}, r"selection.separation=-1 is out of range; it must be 0 or more"),
        ({"beta": 0.0}, r"selection.beta=0.0 is out of range; it must be above 0"),
        ({"beta": float("inf")}, r"selection.beta=inf is out of range"),
        ({"beta": float("nan")}, r"selection.beta=nan is out of range"),
        ({"top_share": 0.0}, r"selection.top_share=0.0 is out of range; it must be above 0 and at most 1"),
        ({"top_share": 1.1}, r"selection.top_share=1.1 is out of range"),
        (
            {"top_share": 0.5, "stochastic": "power"},
            r"selection: top_share selects by chance alone, stochastic by scores",
        ),
        (
            {"stochastic": "gumbel"},
            r"entropy.selection.stochastic='gumbel' is unknown; choose from power, softmax, softrank",
        ),
        ({"ties": "first"}, r"entropy.selection.ties='first' is unknown; choose from random, lowest"),
        ({"per_group": 1}, r"entropy.selection.per_group=1 must be true or false"),
        ({"per_class": "yes"}, r"entropy.selection.per_class='yes' must be true or false"),
        ({"quota": 1}, r"entropy.selection.quota is unknown; entropy.selection has per_image, per_group"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(RalsegError, match=message):
        make("entropy", selection=setting)


def test_power_of_scores_without_a_lowest_value(fake_game, offered):
    acquisition = make("balanced_entropy", selection={"stochastic": "power"})
    with pytest.raises(RalsegError, match=r"selection.stochastic=power needs scores of 0 or more; use softmax"):
        acquisition.select(offered(fake_game(), acquisition), 1, np.random.default_rng(0))


def test_beta_without_chance_is_refused():
    with pytest.raises(RalsegError, match=r"beta=2\.0 is for stochastic; set that, too"):
        Selection(beta=2.0)


def test_every_third_image_of_each_group_as_long_as_there_are_any(scored):
    """Frames 0 to 4 of one group and 0 to 2 of another one; the places do not move when others are bought."""
    score, given = [1.0, 9, 8, 2, 7, 3, 6, 5], {"groups": [0] * 5 + [1] * 3, "frames": [0, 1, 2, 3, 4, 0, 1, 2]}
    every = Selection(every=3)
    assert scored(every, score, **given)(3) == scored(every, score, **given)(5) == [5, 3, 0]
    # Indices are those of the candidates that are left.
    assert scored(every, score, bought=[0, 5], **given)(3) == [2]
    assert scored(every, score, bought=[0, 3, 5], **given)(2) == [0, 1]
    assert scored(Selection(every=3, per_group=True), score, **given)(4) == [5, 3, 0]
    apart = Selection(every=3, separation=2)
    assert scored(apart, score, boxes=[[0, 8 * i, 1, 1] for i in range(8)], **given)(3) == [5, 3, 0]


def test_every_third_image_in_slates(hand_made, offered):
    """A slate without such an image offers all that it has."""
    game = hand_made({ROW: [1.0, 9, 8, 2]}, frames=[0, 1, 2, 4])
    acquisition = make("entropy", selection={"every": 3})
    candidates = offered(game, acquisition, slates=[0, 0, 1, 1])
    assert sorted(acquisition.select(candidates, 2, np.random.default_rng(0)).tolist()) == [0, 2]


@pytest.mark.parametrize("every", [0, -1, 1.5, "5"])
def test_every_is_a_count(every):
    with pytest.raises(RalsegError, match=r"selection\.every"):
        make("entropy", selection={"every": every})
