import dataclasses
import pickle
import warnings
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch
from scipy import stats

from ralseg.agents.acquisitions import Batch, FixedPolicy, Scored, Selection, batch, make, map_reducer, names
from ralseg.agents.acquisitions.base import Acquisition, at_most
from ralseg.agents.acquisitions.compositions import ColdStart, Stage, Stages
from ralseg.agents.acquisitions.limits import Free
from ralseg.agents.acquisitions.reducers import GRADIENT, embedding_reducer
from ralseg.agents.acquisitions.registry import FORMULAS, MADE_OF_OTHERS
from ralseg.agents.acquisitions.ripu import RADII
from ralseg.features import UnitGrid, entropy_map
from ralseg.features.clicks import polygon_clicks
from ralseg.features.prediction import Noise, Prediction
from ralseg.foundation import RalsegError


@dataclass(frozen=True)
class Case:
    """An acquisition's options.

    Attributes:
        options: as for `make`.
        chance: whether the generator decides in it.
        untied: so many choices are decided by no tie; of one candidate beside another that is its own nearest, the two
            have one gain in MaxHerding's definition, and ProbCover counts.
        pixels: whether units are single pixels.
    """

    options: dict = field(default_factory=dict)
    chance: bool = False
    untied: int = 9
    pixels: bool = False


DROPOUT = {"kind": "dropout", "draws": 3}
JITTER = {"kind": "features", "draws": 2, "scale": 0.5}
BOTH_FLIPS = {"kind": "flip", "draws": 2}
CASES = {
    "random": [Case()],
    "class_aware_random": [Case(chance=True), Case({"prefilter": 3}, chance=True)],
    "uniform_in_time": [Case(chance=True), Case({"prefilter": 3}, chance=True)],
    "entropy": [Case(), Case({"reduction": "sum"}), Case({"reduction": "max", "as_released": True})],
    "margin": [Case()],
    "least_confidence": [Case()],
    "bald": [Case(), Case({"noise": JITTER})],
    "power_bald": [Case(chance=True), Case({"noise": BOTH_FLIPS}, chance=True)],
    "balanced_entropy": [Case(), Case({"noise": DROPOUT})],
    "dald": [Case(), Case({"noise": JITTER})],
    "power_dald": [Case(chance=True), Case({"noise": DROPOUT}, chance=True)],
    "edald": [Case(), Case({"as_released": True}), Case({"noise": JITTER, "as_released": True})],
    "power_edald": [Case(chance=True), Case({"noise": DROPOUT, "as_released": True}, chance=True)],
    "equal": [Case(), Case({"noise": BOTH_FLIPS}), Case({"noise": BOTH_FLIPS, "as_released": True})],
    "ripu": [
        Case(),
        Case(pixels=True),
        Case({"radius": 2}, pixels=True),
        Case({"mode": "pa"}, pixels=True),
        Case({"mode": "pa", "radius": 1}, pixels=True),
    ],
    "cost_aware": [
        Case(),
        Case({"of": "margin"}),
        Case({"of": {"edald": {"noise": JITTER}}, "cost": "pixels"}),
        Case({"cost": "polygon"}),
    ],
    "coreset": [Case(), Case({"embedding": "2x2"}), Case({"prefilter": 3}, chance=True), Case({"numbers": 3})],
    "max_herding": [
        # Bandwidths of different samples choose alike here.
        Case(untied=3),
        Case({"bandwidth": 0.7}, untied=3),
        Case({"bandwidth": 0.6, "embedding": "2x2", "prefilter": 0, "numbers": 12}, untied=4),
        Case({"kernel": "top_hat", "bandwidth": 0.8, "prefilter": 5}, chance=True, untied=0),
    ],
    "prob_cover": [
        Case(chance=True, untied=0),
        Case({"radius": 0.6}, untied=0),
        Case({"purity": 0.6, "embedding": "2x2", "prefilter": 5, "numbers": 12}, chance=True, untied=0),
    ],
    "k_means_plus_plus": [Case(chance=True), Case({"embedding": "2x2", "prefilter": 3, "numbers": 9}, chance=True)],
    "badge": [Case(chance=True), Case({"prefilter": 3}, chance=True)],
    "typiclust": [
        Case(chance=True, untied=0),
        Case({"neighbours": 3, "clusters": 4, "embedding": "2x2", "prefilter": 7, "numbers": 9}, chance=True),
    ],
    "class_truth": [Case()],
    "reducible_loss": [Case()],
    "look_ahead": [Case()],
    "stages": [
        Case({"stages": [{"by": "entropy"}]}),
        Case({"stages": [{"by": "edald", "per_image": 4}, {"by": "margin", "share": 0.6}, {"by": "coreset"}]}),
        Case({"stages": [{"by": "coreset", "per_image": 4, "among": 6}, {"by": "class_truth"}]}, chance=True),
        Case({"stages": [{"by": "margin", "share": 0.3, "at_once": 5}, {"by": "entropy"}]}, chance=True),
    ],
    "cold_start": [
        Case({"first": "coreset", "then": "entropy"}),
        Case({"first": "entropy", "then": {"power_edald": {"noise": DROPOUT}}}, chance=True),
    ],
    "rank_sum": [
        Case({"of": ["entropy", {"bald": {"noise": DROPOUT}}]}),
        Case({"of": ["margin", {"ripu": {}}, "class_truth"], "weights": [1, 0.5, 0.1]}),
    ],
    "margin_and_impurity": [Case()],
    "two_stage_edald": [Case(untied=3)],
    "uncertainty_then_coverage": [Case()],
}
EVERY = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, cases in CASES.items()
    for number, case in enumerate(cases)
]
SCORED = [param for param in EVERY if isinstance(make(param.values[0], **param.values[1].options), Scored)]
SLATES = np.array([[5, 17, 40, 2], [7, 30, -1, 47], [11, 0, 22, 33], [-1, -1, -1, -1]])
OPEN = (SLATES >= 0) & ~np.isin(SLATES, [17, 33])
BOUGHT = (1, 14)
PIXELS = {"grid": UnitGrid.of_pixels(3, 4), "cells": (2, 3)}


def test_every_acquisition_and_option_is_tested():
    assert set(CASES) == {*names(), *MADE_OF_OTHERS}
    stages = [stage for case in CASES["stages"] for stage in make("stages", **case.options).stages]
    made = [(cls, [make(name, **case.options) for case in CASES[name]]) for name, cls in FORMULAS.items()]
    made += [(cls, [make(name, **case.options) for case in CASES[name]]) for name, cls in MADE_OF_OTHERS.items()]
    for cls, ones in [*made, (Stage, stages)]:
        for option in dataclasses.fields(cls):
            if option.name != "selection":
                other = any(getattr(one, option.name) != option.default for one in ones)
                assert other, f"{cls.__name__}.{option.name} is never tested"


def test_only_references_see_the_truth():
    assert [name for name in names() if make(name).sees_truth] == ["class_truth", "reducible_loss", "look_ahead"]


@pytest.mark.parametrize(("name", "case"), EVERY)
class TestContract:
    """What every acquisition keeps."""

    @pytest.fixture
    def acquisition(self, name, case):
        return make(name, **case.options)

    @pytest.fixture
    def game(self, case, fake_game):
        return fake_game(bought=BOUGHT, **(PIXELS if case.pixels else {}))

    @pytest.fixture
    def offer(self, game, acquisition, offered):
        """Candidates whose rows are computed once for all tests of their order."""

        def offer(units=None):
            candidates = offered(game, acquisition, units)
            for reducer in acquisition.needs:
                candidates.reduced(reducer.name)
                if reducer.labelled:
                    candidates.labelled(reducer.name)
            return candidates

        return offer

    def test_it_is_what_it_says(self, name, acquisition):
        composed = name in names() and name not in FORMULAS
        assert composed or acquisition.name == name
        assert isinstance(acquisition, Scored | Batch | Stages | ColdStart)
        assert FixedPolicy(acquisition).needs == acquisition.needs
        assert len({reducer.name for reducer in acquisition.needs}) == len(acquisition.needs)

    def test_other_processes_get_the_same(self, acquisition, offer):
        candidates, sent = offer(), pickle.loads(pickle.dumps(acquisition))
        assert sent == acquisition
        chosen, other = (one.select(candidates, 5, np.random.default_rng(0)).tolist() for one in (acquisition, sent))
        assert chosen == other

    def test_scores(self, game, acquisition, offered):
        if isinstance(acquisition, Scored):
            score = acquisition.score(offered(game, acquisition))
            assert score.shape == game.open.shape
            assert score.dtype.kind == "f"
            assert np.isfinite(score).all()
            assert (score >= acquisition.lowest).all()

    @pytest.mark.parametrize("choices", [0, 1, 5, 46, 60])
    def test_as_many_as_asked_for(self, game, acquisition, offered, choices):
        candidates = offered(game, acquisition, choices=choices)
        chosen = acquisition.select(candidates, choices, np.random.default_rng(0))
        assert (chosen.ndim, chosen.dtype) == (1, np.int64)
        assert len(np.unique(chosen)) == len(chosen)
        assert np.isin(chosen, np.arange(len(candidates))).all()
        most = len(candidates)
        if isinstance(acquisition, Stages):
            kept = [stage.per_image for stage in acquisition.stages if stage.per_image]
            most = 4 * min([12, *kept]) if kept and min(kept) < 12 else most
        assert len(chosen) == min(choices, most)

    def test_no_candidate_and_one(self, game, acquisition, offered):
        for units in ([], [7]):
            candidates = offered(game, acquisition, units)
            assert acquisition.select(candidates, 3, np.random.default_rng(0)).tolist() == list(range(len(units)))

    def test_one_class(self, case, acquisition, offered, fake_game):
        game = fake_game(classes=1, **(PIXELS if case.pixels else {}))

        def select():
            return acquisition.select(offered(game, acquisition, range(20)), 5, np.random.default_rng(0))

        if any(reducer.name == "margin" for reducer in acquisition.needs):
            with pytest.raises(RalsegError, match="margin: logits of a single class have no second best"):
                select()
        else:
            assert len(select()) == 5

    def test_acquisitions_that_read_true_labels_say_so(self, game, acquisition, offered):
        acquisition.select(offered(game, acquisition), 5, np.random.default_rng(0))
        assert game.truth_was_read == acquisition.sees_truth

    def test_random_decisions_follow_the_generator(self, case, acquisition, offer):
        candidates = offer()
        found = [acquisition.select(candidates, 5, np.random.default_rng(seed)).tolist() for seed in range(30)]
        assert acquisition.select(candidates, 5, np.random.default_rng(7)).tolist() == found[7]
        assert (len({tuple(chosen) for chosen in found}) > 1) == case.chance

    def test_the_order_of_the_candidates_decides_nothing(self, case, acquisition, offer):
        candidates = offer()
        order = np.random.default_rng(1).permutation(len(candidates))
        if isinstance(acquisition, Scored):
            np.testing.assert_allclose(
                acquisition.score(candidates.take(order)), acquisition.score(candidates)[order], rtol=1e-6, atol=1e-6
            )
        if case.chance:
            return
        chosen = acquisition.select(candidates, 9, np.random.default_rng(0))
        other = order[acquisition.select(candidates.take(order), 9, np.random.default_rng(0))]
        if isinstance(acquisition, Scored):
            # Whatever ties has the same score.
            score = acquisition.score(candidates)
            np.testing.assert_allclose(score[chosen], score[other], rtol=1e-6, atol=1e-6)
        else:
            assert chosen[: case.untied].tolist() == other[: case.untied].tolist()

    def test_the_order_of_the_candidates_changes_no_probability(self, case, acquisition, offer):
        if not case.chance or not case.untied:
            return
        candidates = offer([0, 2, 3, 5, 9, 12, 15, 19, 24, 30, 31, 33])
        candidates.slates = None
        order, draws = np.array([7, 2, 11, 4, 0, 9, 1, 10, 3, 8, 5, 6]), 250
        permuted, share = candidates.take(order), np.zeros((2, 12))
        for seed in range(draws):
            share[0, acquisition.select(candidates, 3, np.random.default_rng(seed))] += 1 / draws
            share[1, order[acquisition.select(permuted, 3, np.random.default_rng(seed))]] += 1 / draws
        deviation = np.sqrt(2 * np.maximum(share.mean(0) * (1 - share.mean(0)), 1 / draws) / draws)
        assert (np.abs(share[0] - share[1]) < 4.5 * deviation).all()

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_damaged_prediction_is_refused(self, game, acquisition, offered, value):
        game.damage(value)
        if acquisition.needs:
            with pytest.raises(RalsegError, match=r"holds? NaN"):
                acquisition.select(offered(game, acquisition), 5, np.random.default_rng(0))

    def test_damage_from_a_device_is_refused(self, game, acquisition, offered, monkeypatch):
        """There NaN is found in what is fetched, not in the logits."""
        rows = game.rows

        def damaged(reducers):
            found = {name: np.array(part, np.float32) for name, part in rows(reducers).items()}
            for part in found.values():
                part[:12] = np.nan
            return found

        monkeypatch.setattr(game, "rows", damaged)
        if acquisition.needs:
            with pytest.raises(RalsegError, match="is NaN; the network's prediction is damaged"):
                acquisition.select(offered(game, acquisition), 5, np.random.default_rng(0))

    def test_one_of_each_slate(self, game, acquisition, viewed):
        for seed in range(5):
            choice = FixedPolicy(acquisition).select(
                viewed(game, acquisition, SLATES, OPEN), np.random.default_rng(seed)
            )
            assert (choice.shape, choice.dtype) == ((4,), np.int64)
            assert choice[3] == -1
            assert OPEN[np.arange(3), choice[:3]].all()
        nothing = viewed(game, acquisition, SLATES, np.zeros_like(OPEN))
        assert FixedPolicy(acquisition).select(nothing, np.random.default_rng(0)).tolist() == [-1] * 4
        single = viewed(game, acquisition, [[3]])
        assert FixedPolicy(acquisition).select(single, np.random.default_rng(0)).tolist() == [0]

    def test_masked_candidates_decide_nothing(self, game, acquisition, viewed):
        other = np.where(OPEN, SLATES, 1)
        for seed in range(3):
            first, second = (
                FixedPolicy(acquisition).select(viewed(game, acquisition, units, OPEN), np.random.default_rng(seed))
                for units in (SLATES, other)
            )
            np.testing.assert_array_equal(first, second)

    def test_the_whole_pool(self, game, acquisition, viewed):
        units = np.arange(48)[None]
        mask = np.isin(units, game.open)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            choice = FixedPolicy(acquisition).select(
                viewed(game, acquisition, units, mask, 6), np.random.default_rng(0)
            )
        assert (choice.shape, choice.dtype) == ((6,), np.int64)
        assert len(set(choice.tolist())) == 6
        assert mask[0, choice].all()

    def test_fewer_are_left_than_asked_for(self, game, acquisition, viewed):
        units = np.arange(48)[None]
        view = viewed(game, acquisition, units, np.isin(units, [3, 20, 41]), 5)
        with pytest.warns(UserWarning, match=f"{acquisition.name}: 5 units are wanted and its quotas allow only 3"):
            choice = FixedPolicy(acquisition).select(view, np.random.default_rng(0))
        assert sorted(choice.tolist()) == [3, 20, 41]


def probabilities(logits):
    """(..., C, h, w) in float64."""
    e = np.exp(logits.numpy().astype(float) - logits.numpy().astype(float).max(-3, keepdims=True))
    return e / e.sum(-3, keepdims=True)


def overlaps(game, boxes=None):
    """(units, h, w): pixels of each unit that lie in each cell of the logits' map."""
    (height, width), (h, w) = (game.grid.height, game.grid.width), game.logits.shape[-2:]
    boxes = game.grid.boxes if boxes is None else boxes
    found = np.zeros((len(boxes), h, w))
    for unit, (y, x, down, right) in enumerate(boxes):
        for i in range(h):
            for j in range(w):
                rows = min(y + down, (i + 1) * height / h) - max(y, i * height / h)
                columns = min(x + right, (j + 1) * width / w) - max(x, j * width / w)
                found[unit, i, j] = max(rows, 0) * max(columns, 0)
    return found


def slow_map(game, value, noise=None):
    """(images, h, w) of value((C,) probabilities, (M, C) noisy ones), pixel by pixel."""
    p = probabilities(game.logits)[: game.images]
    q = probabilities(game.disturbed(noise)) if noise else p[None]
    found = np.empty((len(p), *p.shape[-2:]))
    for image, i, j in np.ndindex(found.shape):
        found[image, i, j] = value(p[image, :, i, j], q[:, image, :, i, j])
    return found


def means(game, maps):
    """(units of all images,) weighted by overlap."""
    weights = overlaps(game)
    return np.array([(own * image).sum() / own.sum() for image in maps for own in weights])


def largest(game, maps):
    return np.array([image[own > 1e-9].max() for image in maps for own in overlaps(game)])


def h(p):
    return -sum(x * np.log(x) for x in p)


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def information(p, q):
    return h(q.mean(0)) - np.mean([h(draw) for draw in q])


def released_information(p, q):
    return h(np.exp(q).mean(0)) - np.mean([h(np.exp(draw)) for draw in q])


def balanced(p, q):
    mean, variance = q.mean(0), q.var(0)
    posterior = 0
    for m, v in zip(mean, variance, strict=True):
        a = m * m * (1 - m) / v - m
        posterior += m * stats.beta(a + 1, (1 / m - 1) * a).entropy()
    balance = (posterior + h(mean)) / (h(mean) + np.log(2))
    return 1 / balance if balance >= 0 else balance


def slow_entropy(game, acquisition):
    maps = slow_map(game, lambda p, q: h(p))
    if acquisition.as_released:
        maps = np.array([(image - image.min()) / (image.max() - image.min()) for image in maps])
    if acquisition.reduction == "max":
        return largest(game, maps)
    return means(game, maps) * (np.tile(game.grid.areas, game.images) if acquisition.reduction == "sum" else 1)


def slow_margin(game, acquisition):
    return -means(game, slow_map(game, lambda p, q: sorted(p)[-1] - sorted(p)[-2]))


def slow_confidence(game, acquisition):
    return -means(game, slow_map(game, lambda p, q: max(p)))


def slow_information(game, acquisition):
    return means(game, slow_map(game, information, acquisition.noise))


def slow_edald(game, acquisition):
    second = released_information if acquisition.as_released else information
    return means(game, slow_map(game, lambda p, q: h(p) + second(p, q), acquisition.noise))


def slow_balanced(game, acquisition):
    return means(game, slow_map(game, balanced, acquisition.noise))


def slow_equal(game, acquisition):
    def divergence(p, q):
        return np.mean([(kl(p, draw) + kl(draw, p)) / 2 for draw in q])

    def entropies(p, q):
        return h(p) + np.mean([h(draw) for draw in q])

    return means(game, slow_map(game, entropies if acquisition.as_released else divergence, acquisition.noise))


def shares_of(game):
    """(units of all images, C) of the predicted classes."""
    best = probabilities(game.logits)[: game.images].argmax(1)
    classes = range(game.logits.shape[1])
    return np.stack([means(game, (best == c).astype(float)) for c in classes], axis=1)


def slow_ripu(game, acquisition):
    classes = game.logits.shape[1]
    if game.grid.unit_height > 1:
        mixed = np.array([h(row[row > 0]) for row in shares_of(game)])
        return mixed * means(game, slow_map(game, lambda p, q: h(p))) / np.log(classes) ** 2
    reach = acquisition.radius if acquisition.radius is not None else {"ra": 1, "pa": 32}[acquisition.mode]
    found = []
    for logits in enlarged(game.logits.numpy().astype(float)[: game.images], game.grid.height, game.grid.width):
        p = np.exp(logits) / np.exp(logits).sum(0)
        best, entropy = p.argmax(0), np.array([[h(p[:, i, j]) for j in range(p.shape[2])] for i in range(p.shape[1])])
        for i, j in np.ndindex(best.shape):
            window = (slice(max(0, i - reach), i + reach + 1), slice(max(0, j - reach), j + reach + 1))
            histogram = np.bincount(best[window].ravel()) / best[window].size
            uncertainty = entropy[window].mean() if acquisition.mode == "ra" else entropy[i, j]
            found.append(h(histogram[histogram > 0]) * uncertainty / np.log(classes) ** 2)
    return np.array(found)


def enlarged(maps, height, width):
    """Bilinear interpolation between the centres of cells, maps (..., h, w)."""

    def between(size, cells):
        at = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
        low = np.minimum(at.astype(int), max(cells - 2, 0))
        return low, np.minimum(low + 1, cells - 1), at - low

    (top, bottom, y), (left, right, x) = between(height, maps.shape[-2]), between(width, maps.shape[-1])
    rows = maps[..., top, :] * (1 - y)[:, None] + maps[..., bottom, :] * y[:, None]
    return rows[..., left] * (1 - x) + rows[..., right] * x


def slow_cost_aware(game, acquisition):
    score = SLOW[acquisition.of.name](game, acquisition.of) - {"margin": -1}.get(acquisition.of.name, 0)
    if acquisition.cost == "pixels":
        return score / np.tile(game.grid.areas, game.images)
    if acquisition.cost == "polygon":
        logits = game.logits.numpy().astype(float)[: game.images]
        maps = enlarged(logits, game.grid.height, game.grid.width).argmax(axis=1).astype(np.uint8)
        return score / polygon_clicks(maps, game.grid).total.reshape(-1)
    return score / (shares_of(game) > 0).sum(1)


def slow_truth(game, acquisition):
    labelled = (9, 0, 100, 4)
    return np.array(
        [sum(np.sqrt(n + c) - np.sqrt(n) for n, c in zip(labelled, row, strict=True)) for row in game.counts]
    )


def slow_loss(game, acquisition):
    """Of the first class, as the fake game has it."""
    return means(game, slow_map(game, lambda p, q: -np.log(p[0])))


def slow_rank_sum(game, acquisition):
    """Ranks among the candidates, counted."""
    total = 0
    for part, weight in zip(acquisition.of, acquisition.weights or (1, 1), strict=True):
        score = SLOW[part.name](game, part)[game.open]
        ranks = [((score < own).sum() + ((score == own).sum() + 1) / 2) / len(score) for own in score]
        total = total + weight * np.array(ranks)
    found = np.zeros(game.images * 12)
    found[game.open] = total
    return found


SLOW = {
    "random": lambda game, acquisition: np.zeros(game.images * 12),
    "entropy": slow_entropy,
    "margin": slow_margin,
    "least_confidence": slow_confidence,
    **dict.fromkeys(("bald", "power_bald", "dald", "power_dald"), slow_information),
    **dict.fromkeys(("edald", "power_edald"), slow_edald),
    "balanced_entropy": slow_balanced,
    "equal": slow_equal,
    "ripu": slow_ripu,
    "cost_aware": slow_cost_aware,
    "class_truth": slow_truth,
    **dict.fromkeys(("reducible_loss", "look_ahead"), slow_loss),
    "rank_sum": slow_rank_sum,
}


@pytest.mark.parametrize(("name", "case"), SCORED)
def test_the_formula(name, case, fake_game, offered):
    acquisition, game = make(name, **case.options), fake_game(bought=BOUGHT, **(PIXELS if case.pixels else {}))
    candidates, expected = offered(game, acquisition), SLOW[acquisition.name](game, acquisition)[game.open]
    # Where a balance is near 0 its inverse is large, and rounding with it.
    atol = 3e-5 if name == "balanced_entropy" else 2e-6
    np.testing.assert_allclose(acquisition.score(candidates), expected, rtol=1e-4, atol=atol)
    if not case.chance:
        chosen = acquisition.select(candidates, 6, np.random.default_rng(0))
        assert chosen.tolist() == np.argsort(-expected, kind="stable")[:6].tolist()


@pytest.mark.parametrize(("kind", "parts"), [("mean", 1), ("2x2", 2)])
def test_embeddings(kind, parts, fake_game):
    """Means over the unit, or its quarters, which end within a pixel of the image."""
    game = fake_game(coarse=(6, 7))
    found = game.rows([embedding_reducer(kind)])[f"embedding {kind}"]
    pieces = [
        (y + i * down / parts, x + j * right / parts, down / parts, right / parts)
        for y, x, down, right in game.grid.boxes
        for i in range(parts)
        for j in range(parts)
    ]
    weights = overlaps(game, pieces)
    weights /= weights.sum((1, 2), keepdims=True)
    expected = np.einsum("pij,bdij->bpd", weights, game.features.numpy()).reshape(len(found), -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("coarse", [(6, 7), (3, 4)])
def test_gradients_are_those_of_the_last_layer(coarse, fake_game):
    game = fake_game(images=2, coarse=coarse)
    head = torch.nn.Conv2d(5, 4, 1).double()
    with torch.no_grad():
        game.logits = head(torch.nn.functional.interpolate(game.features, (6, 7), mode="bilinear").double()).float()
    found = game.rows([GRADIENT])["gradient"].reshape(4, 12, 4, 5)
    maps = torch.nn.functional.interpolate(game.features, (6, 7), mode="bilinear").double()
    for image in range(4):
        logits = head(maps[image : image + 1])
        loss = torch.nn.functional.cross_entropy(logits, logits.argmax(1), reduction="none")[0]
        for unit, weights in enumerate(torch.tensor(overlaps(game))):
            mean = (weights * loss).sum() / weights.sum()
            (gradient,) = torch.autograd.grad(mean, head.weight, retain_graph=True)
            np.testing.assert_allclose(found[image, unit], gradient[:, :, 0, 0], atol=1e-6)


def test_entropy_of_the_mean_is_mean_entropy_and_information(fake_game, offered):
    game, noise = fake_game(), Noise("dropout", 7)
    bald, edald = make("bald", noise=noise), make("edald", noise=noise)
    units, entropy = np.arange(48), make("entropy").reducers
    q = probabilities(game.disturbed(noise))
    of_mean, mean_of = fake_game(), 0
    of_mean.logits = torch.tensor(np.log(q.mean(0)))
    for draw in game.disturbed(noise):
        one = fake_game()
        one.logits = draw
        mean_of = mean_of + one.reduce(units, entropy)["entropy mean"] / 7
    both = mean_of + bald.score(offered(game, bald))
    np.testing.assert_allclose(of_mean.reduce(units, entropy)["entropy mean"], both, atol=1e-6)
    own = game.reduce(units, entropy)["entropy mean"]
    np.testing.assert_allclose(edald.score(offered(game, edald)), own + both - mean_of, atol=1e-6)


@pytest.mark.parametrize("name", ["edald", "power_edald"])
def test_edald_is_entropy_where_nothing_disagrees(name, fake_game, offered):
    game, acquisition = fake_game(), make(name)
    game.noisy[acquisition.noise] = game.logits.expand(5, *game.logits.shape)
    entropy = make("entropy")
    np.testing.assert_allclose(
        acquisition.score(offered(game, acquisition)), entropy.score(offered(game, entropy)), atol=1e-6
    )


def test_max_herding_with_a_top_hat_is_prob_cover(fake_game, offered):
    game, chosen = fake_game(bought=BOUGHT), []
    for name, options in (("max_herding", {"kernel": "top_hat", "bandwidth": 0.6}), ("prob_cover", {"radius": 0.6})):
        acquisition = make(name, **options)
        candidates = offered(game, acquisition)
        chosen.append(acquisition.select(candidates, 20, np.random.default_rng(0)))
    points = np.concatenate([candidates.reduced("embedding mean"), candidates.labelled("embedding mean")])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    near = np.linalg.norm(points[:46, None] - points, axis=2) <= 0.6
    # Picks until one covers nothing that the labelled units (from 46 on) and those before it do not.
    new = [
        (near[:, one] & ~near[:, [*range(46, len(points)), *chosen[0][:at]]].any(1)).any()
        for at, one in enumerate(chosen[0])
    ]
    positive = new.index(False)
    assert 5 < positive < 20
    assert chosen[0][:positive].tolist() == chosen[1][:positive].tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["entropy", "margin", "least_confidence", "bald", "dald", "equal", "ripu", "edald", "cost_aware"]
)
def test_a_certain_unit_never_beats_an_uncertain_one(name, seed, fake_game, offered):
    game, acquisition = fake_game(seed=seed), make(name)
    noise = getattr(acquisition, "noise", None)
    certain, doubtful = slice(0, 2), slice(2, 4)
    game.logits[certain] = 0.1 * game.logits[certain]
    game.logits[certain, 1] += 12
    # Neighbours are of different classes, so that every unit is mixed.
    i, j = np.indices((6, 7))
    game.logits[doubtful] *= 0.1
    game.logits[doubtful, (i + j) % 4, i, j] += 1
    if noise:
        game.disturbed(noise)[:, certain] = game.logits[certain] + 0.01
    score = acquisition.score(offered(game, acquisition))
    assert score[:24].max() < score[24:].min()
    chosen = acquisition.select(offered(game, acquisition), 24, np.random.default_rng(0))
    assert sorted(chosen.tolist()) == list(range(24, 48))


DUPLICATED = [
    ("coreset", {}),
    ("max_herding", {}),
    ("max_herding", {"bandwidth": 0.2}),
    ("max_herding", {"kernel": "top_hat", "bandwidth": 0.05}),
    ("prob_cover", {"radius": 0.05}),
    ("prob_cover", {"radius": 0.5}),
    ("k_means_plus_plus", {}),
    ("typiclust", {}),
]


@pytest.mark.parametrize(("name", "options"), DUPLICATED)
def test_duplicates_are_chosen_last(name, options, hand_made, offered):
    """Of 9 candidates, 2 stand where a labelled one does and 1 stands where another does.

    TypiClust puts duplicates into one cluster: that of the labelled unit is the last one of the first round, and the
    second of two equal candidates waits for the second round. In a cluster of several points its definition is the
    other way round: duplicates are the most typical. Here every point is a cluster.
    """
    rng = np.random.default_rng(0)
    points = rng.normal(size=(10, 6))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[[4, 7]], points[8] = points[9], points[2]
    acquisition = make(name, **options)
    game = hand_made(
        {"embedding mean": points, "predicted_shares": np.full((10, 2), 0.5)}, images=np.arange(10), bought=[9]
    )
    for seed in range(20):
        chosen = acquisition.select(offered(game, acquisition), 9, np.random.default_rng(seed)).tolist()
        assert len(chosen) == 9
        assert {4, 7, *chosen[-3:]} <= {4, 7, 2, 8}
        assert len({2, 8} & set(chosen[-3:])) == 1


@pytest.mark.parametrize("name", ["typiclust", "prob_cover", "max_herding"])
def test_directions_of_embeddings_count_and_not_their_lengths(name, hand_made, offered):
    rng = np.random.default_rng(0)
    points, lengths = rng.normal(size=(40, 3)), np.exp(rng.normal(size=(40, 1)))
    chosen = []
    for embedding in (points, points * lengths):
        acquisition = make(name)
        game = hand_made({"embedding mean": embedding, "predicted_shares": np.full((40, 3), 1 / 3)}, bought=[5, 9])
        chosen.append(acquisition.select(offered(game, acquisition), 6, np.random.default_rng(1)).tolist())
    assert chosen[0] == chosen[1] and len(chosen[0]) == 6


def test_purer_balls_are_smaller(hand_made, offered, monkeypatch):
    """The radius is that of the purity that is set."""
    points, radii = np.random.default_rng(0).normal(size=(60, 3)), []
    game = hand_made({"embedding mean": points, "predicted_shares": np.full((60, 4), 0.25)})
    monkeypatch.setattr(batch, "cover", lambda *given: radii.append(given[-1]) or np.zeros(0, np.int64))
    for purity in (0.2, 0.95):
        acquisition = make("prob_cover", purity=purity)
        acquisition.select(offered(game, acquisition), 3, np.random.default_rng(1))
    assert radii[0] > radii[1] > 0


def test_published_numbers_are_the_defaults():
    assert (make("typiclust").neighbours, make("typiclust").clusters) == (20, 500)
    assert make("prob_cover").purity == 0.95
    assert RADII == {"ra": 1, "pa": 32}


def test_a_formula_needs_no_observation():
    assert FixedPolicy(make("margin")).needs_observation is False


def test_badge_takes_the_largest_gradient_first_and_duplicates_last(hand_made, offered):
    points = np.random.default_rng(0).normal(size=(8, 5))
    points[6], points[3] = points[1], 9 * points[3]
    acquisition, game = make("badge"), hand_made({"gradient": points}, images=np.arange(8))
    for seed in range(30):
        chosen = acquisition.select(offered(game, acquisition), 8, np.random.default_rng(seed)).tolist()
        assert chosen[0] == 3
        assert chosen[-1] in (1, 6)


@pytest.mark.parametrize(
    ("name", "options"), [("prob_cover", {"radius": 0.15}), ("max_herding", {"kernel": "top_hat", "bandwidth": 0.15})]
)
def test_centres_of_stars_are_chosen_by_size(name, options, hand_made, offered):
    """Each star is a direction, and others around it that are near to it alone; no two gains are equal."""
    basis = np.eye(16)
    stars = [
        [basis[star], *(basis[star] + 0.13 * basis[4 + ray] for ray in range(rays))]
        for star, rays in enumerate((3, 7, 2, 5))
    ]
    points = np.concatenate(stars)
    order = np.random.default_rng(0).permutation(len(points))
    acquisition = make(name, **options)
    game = hand_made(
        {"embedding mean": points[order], "predicted_shares": np.ones((len(points), 1))}, images=np.arange(len(points))
    )
    chosen = order[acquisition.select(offered(game, acquisition), 4, np.random.default_rng(0))]
    assert chosen.tolist() == [4, 15, 0, 12]


def test_chances_of_class_aware_random(fake_game, offered):
    """A class is drawn uniformly from those present, then a candidate in proportion to its share of that class."""
    game, acquisition = fake_game(), make("class_aware_random")
    units = np.array([5, 40, 2, 33])
    share = shares_of(game)[units]
    present = share.sum(0) > 0
    expected = (share[:, present] / share[:, present].sum(0)).mean(1)
    candidates, rng = offered(game, acquisition, units), np.random.default_rng(0)
    candidates.reduced("predicted_shares")
    counts = np.bincount([acquisition.select(candidates, 1, rng)[0] for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, expected, atol=0.04)


def test_class_aware_random_chooses_no_more_than_is_asked_for(hand_made, offered):
    acquisition = make("class_aware_random")
    candidates = offered(hand_made({"predicted_shares": np.full((6, 2), 0.5)}), acquisition, None, [0, 0, 1, 1, 2, 2])
    chosen = acquisition.select(candidates, 2, np.random.default_rng(0))
    assert candidates.slates[chosen].tolist() == [0, 1]
    closed = Free(6)
    closed.open[:] = False
    none = acquisition.choose(candidates, 2, closed, np.random.default_rng(0))
    assert (len(none), none.dtype) == (0, np.int64)


def test_class_aware_random_with_one_class_everywhere(fake_game, viewed):
    game, acquisition = fake_game(), make("class_aware_random")
    game.logits[:, 1:] = -50
    policy, view = FixedPolicy(acquisition), viewed(game, acquisition, SLATES, OPEN)
    assert {int(policy.select(view, np.random.default_rng(seed))[0]) for seed in range(40)} == {0, 2, 3}


def test_random_chooses_all_alike(fake_game, viewed):
    game, acquisition, counts = fake_game(), make("random"), np.zeros((3, 4))
    view, rng = viewed(game, acquisition, SLATES, OPEN), np.random.default_rng(0)
    for _ in range(1000):
        counts[np.arange(3), FixedPolicy(acquisition).select(view, rng)[:3]] += 1
    assert (counts[~OPEN[:3]] == 0).all()
    expected = 1000 / OPEN[:3].sum(1, keepdims=True) * OPEN[:3]
    assert np.abs(counts - expected).max() < 5 * np.sqrt(1000 / 4)


@pytest.mark.parametrize("name", ["coreset", "badge", "typiclust", "class_aware_random"])
def test_the_prefilter_is_of_each_image_of_a_whole_pool(name, fake_game, offered, viewed):
    game, acquisition = fake_game(), make(name, prefilter=2)
    candidates = offered(game, acquisition)
    seen = set()
    for seed in range(80):
        chosen = acquisition.select(candidates, 8, np.random.default_rng(seed))
        assert np.bincount(chosen // 12).tolist() == [2, 2, 2, 2]
        seen |= set(chosen.tolist())
    assert seen == set(range(48))
    # More take part where two of each are too few.
    assert len(acquisition.select(candidates, 30, np.random.default_rng(0))) == 30
    # Slates are drawn already.
    slates = viewed(game, acquisition, np.arange(48)[:, None])
    assert FixedPolicy(acquisition).select(slates, np.random.default_rng(0)).tolist() == [0] * 48


def test_at_most():
    images, rng = np.array([3, 1, 3, 3, 1, 8]), np.random.default_rng(0)
    found = [at_most(images, 2, rng).tolist() for _ in range(100)]
    assert {tuple(index) for index in found} == {(0, 1, 2, 4, 5), (0, 1, 3, 4, 5), (1, 2, 3, 4, 5)}
    assert at_most(images, 9, rng).tolist() == list(range(6))
    assert at_most(images[:0], 2, rng).tolist() == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bald", {"noise": {"kind": "dropout", "draws": 1}}, r"^bald: noise.draws=1 is out of range; it must be 2"),
        ("equal", {"noise": {"kind": "flip", "draws": 0}}, r"^equal.noise.draws=0 is out of range; it must be"),
        ("ripu", {"radius": -1}, r"ripu.radius=-1 is out of range"),
        ("coreset", {"prefilter": -1}, r"coreset.prefilter=-1 is out of range"),
        ("max_herding", {"bandwidth": 0}, r"^max_herding.bandwidth=0 is out of range; it must be above 0"),
        ("max_herding", {"kernel": "top_hat"}, r"max_herding.kernel=top_hat needs a bandwidth"),
        ("prob_cover", {"radius": float("inf")}, r"prob_cover.radius=inf is out of range"),
        ("prob_cover", {"purity": 0.0}, r"prob_cover.purity=0.0 is out of range; it must be above 0 and at most 1"),
        ("typiclust", {"neighbours": 0}, r"typiclust.neighbours=0 is out of range"),
        ("typiclust", {"clusters": -2}, r"typiclust.clusters=-2 is out of range"),
        ("badge", {"selection": {"stochastic": "power"}}, r"^badge: there are no scores for selection.stochastic"),
        ("max_herding", {"prefilter": -3}, r"max_herding.prefilter=-3 is out of range"),
    ],
)
def test_options_out_of_range(name, options, message):
    with pytest.raises(RalsegError, match=message):
        make(name, **options)


@pytest.mark.parametrize("classes", [2, 5])
def test_ripu_of_a_region_of_doubtful_and_even_classes_is_one(classes):
    logits = np.zeros((1, classes, 4, classes), np.float32)
    # Every column is a shade more like another class.
    logits[0, np.arange(classes), :, np.arange(classes)] = 1e-4
    (reducer,) = make("ripu").reducers
    found = reducer.find(Prediction(logits, logits, (logits,)), UnitGrid.of_images(4, classes))
    np.testing.assert_allclose(found, [[1]], rtol=1e-5)


def test_ripu_of_units_smaller_than_cells_sees_the_boundary_between_them():
    """Units of 3 x 3 pixels on logits at an eighth of the resolution: on the logits themselves each is pure."""
    logits = np.zeros((1, 2, 3, 6), np.float32)
    logits[:, 0, :, :3], logits[:, 1, :, 3:] = 1, 1
    (reducer,) = make("ripu").reducers
    predicted = torch.from_numpy(logits)
    found = reducer.find(Prediction(predicted, predicted, (predicted,)), UnitGrid(24, 48, 3, 3)).reshape(8, 16)
    enlarged = cv2.resize(np.moveaxis(logits[0], 0, -1), (48, 24), interpolation=cv2.INTER_LINEAR)
    best = enlarged.argmax(-1)
    mixed = np.array(
        [[len(np.unique(best[3 * i : 3 * i + 3, 3 * j : 3 * j + 3])) for j in range(16)] for i in range(8)]
    )
    assert ((found > 0) == (mixed == 2)).all()


def test_ripu_of_pixels_is_not_for_regions(fake_game, offered):
    acquisition = make("ripu", mode="pa")
    with pytest.raises(RalsegError, match=r"ripu.mode=pa scores pixels; set game.unit=pixel"):
        acquisition.select(offered(fake_game(), acquisition), 1, np.random.default_rng(0))


@dataclass(frozen=True, kw_only=True)
class Own(Scored):
    """An acquisition as the documentation tells to write one."""

    name = "own"

    reducers = (map_reducer("least", lambda logits: -entropy_map(logits)),)

    def score(self, candidates):
        return np.where(np.arange(len(candidates)) == 1, np.nan, candidates.reduced("least"))


def test_a_score_of_nan_is_refused(fake_game, offered):
    with pytest.raises(RalsegError, match="the score of a candidate is NaN"):
        Own().select(offered(fake_game(), Own()), 3, np.random.default_rng(0))
    # Chance within the top would hide it.
    by_chance = Own(selection=Selection(top_share=0.5))
    with pytest.raises(RalsegError, match="the score of a candidate is NaN"):
        by_chance.select(offered(fake_game(), by_chance), 3, np.random.default_rng(0))


def test_a_choice_must_be_given(fake_game, offered):
    candidates = offered(fake_game(), make("random"))
    with pytest.raises(NotImplementedError):
        Acquisition().select(candidates, 1, np.random.default_rng(0))
    with pytest.raises(NotImplementedError):
        Scored().select(candidates, 1, np.random.default_rng(0))
    with pytest.raises(NotImplementedError):
        Batch().select(candidates, 1, np.random.default_rng(0))


class TestUniformInTime:
    """Eight images of one group and four of another one, their units in any order."""

    @pytest.fixture
    def candidates(self, hand_made, offered):
        order = np.random.default_rng(5).permutation(12)
        game = hand_made(
            {"margin": np.zeros(12)}, images=order, groups=order // 8, frames=np.where(order < 8, order, order - 8)
        )

        def candidates(**given):
            return offered(game, make("uniform_in_time"), **given)

        return candidates

    def chosen(self, candidates, choices, seed, **options):
        acquisition = make("uniform_in_time", **options)
        found = acquisition.select(candidates, choices, np.random.default_rng(seed))
        return sorted(candidates.images[found].tolist())

    def test_it_is_even_and_each_has_its_chance(self, candidates):
        begun = np.zeros(12)
        for seed in range(300):
            found = self.chosen(candidates(), 3, seed)
            assert np.diff(found).tolist() == [4, 4] and found[0] < 4
            begun[found] += 1
        assert begun.min() > 50
        for choices in (1, 5, 7, 12, 20):
            found = self.chosen(candidates(), choices, 0)
            steps = np.diff([*found, found[0] + 12])
            assert len(found) == min(choices, 12) and steps.max() - steps.min() <= (choices not in (1, 12, 20))

    def test_groups_get_their_share(self, candidates):
        for seed in range(20):
            assert np.bincount(np.array(self.chosen(candidates(), 6, seed)) // 8).tolist() == [4, 2]

    def test_where_a_quota_closes_one_the_next_in_time_is_taken(self, candidates):
        found = self.chosen(candidates(), 4, 1, selection={"every": 2})
        assert len(found) == 4 and all((image % 8) % 2 == 0 for image in found)
        steps = np.diff([*found, found[0] + 12])
        assert steps.max() <= 4

    def test_names_of_groups_do_not_mix(self, hand_made, offered):
        """Frames of both groups have the same places."""
        game = hand_made({"margin": np.zeros(8)}, groups=[0, 1] * 4, frames=[0, 0, 1, 1, 2, 2, 3, 3])
        acquisition = make("uniform_in_time")
        for seed in range(10):
            candidates = offered(game, acquisition)
            chosen = acquisition.select(candidates, 4, np.random.default_rng(seed))
            assert sorted(candidates.groups[chosen].tolist()) == [0, 0, 1, 1]
            assert len({*(candidates.frames[chosen] % 2).tolist()}) == 1
