"""Games of single pixels on a frozen source: what is read, how many are bought, and what an observation holds."""

import numpy as np
import own_source as own
import pytest
import torch
from torch.nn import functional

from ralseg.agents.acquisitions import make
from ralseg.agents.acquisitions.reducers import embedding_reducer
from ralseg.configs import composed
from ralseg.envs import EnvFactory, World
from ralseg.envs.observer import STATE_PIXELS
from ralseg.envs.options import GameOptions
from ralseg.features.prediction import Noise
from ralseg.features.unit_features import feature_reducers
from ralseg.features.units import Reducer
from ralseg.segmentation.learners import LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import PixelMLP

TINY = [
    "dataset=streets", "dataset.images=40", "dataset.size=[96,128]", "input_scale=1.0",
    "protocol.counts={state: 3, train: 3, compare: 11, dev: 4}", "source._target_=own_source.RandomColours",
    "network=pixel_mlp", "theta0=untrained", "learner=from_scratch", "game=pixels", "game.learn.steps=5",
    "game.pool_per_image=12",
]  # fmt: skip
NOISY = Noise("grainy", 2)
REDUCERS = {
    **{name: make(name).needs[0] for name in ("entropy", "margin", "least_confidence", "badge")},
    "edald": make("edald", noise={"kind": "grainy", "draws": 2}).needs[0],
    "mean": embedding_reducer("mean"),
    "source": embedding_reducer("source"),
    **{r.name: r for r in feature_reducers({"shares", "probabilities", "uncertainty", "embedding", "entropy"})},
    "disagreement": feature_reducers({"disagreement"}, NOISY)[0],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALSEG_CACHE", str(tmp_path_factory.mktemp("pixels")))
        made = World(composed("evaluate_policy", TINY))
        _ = made.store, made.theta0()
        yield made


@pytest.fixture
def game(world):
    game = world.game("compare", observed=False)
    game.reset(3)
    # A trained head, so that predictions differ from pixel to pixel.
    game.step(np.arange(2))
    return game


class AsLarge(own.RandomColours):
    """Maps as large as the image: there a cell is a pixel, so that whole images are predicted at the pixels, too."""

    def __init__(self):
        super().__init__()
        self.widths, self.stride, self.key = (12,), 1, "as large"

    def maps(self, image, variant):
        return (functional.interpolate(super().maps(image, variant)[0][None], size=image.shape[:2])[0],)


@pytest.mark.parametrize("name", REDUCERS)
def test_pixels_read_by_themselves_have_the_rows_of_whole_images(world, game, monkeypatch, name):
    reducer, source = REDUCERS[name], AsLarge()
    torch.manual_seed(0)
    network = PixelMLP(11, source.widths, source.stride, hidden=16)
    given = network, LearnerImages(world.store), LearnOptions(cut="frozen")
    monkeypatch.setattr(game, "learner", SupervisedLearner(*given, precision="float32", source=source))
    units = game.offer.units[0, ::3]
    found = game._reader().reduce(units, [reducer])[reducer.name]
    monkeypatch.setattr("ralseg.envs.reading.by_pixel", lambda *_: False)
    whole = game._reader().reduce(units, [reducer])[reducer.name]
    assert found.shape == whole.shape and found.dtype == whole.dtype
    assert name == "shares" or len(np.unique(found.round(5), axis=0)) > 5
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-4)


def test_what_reads_neighbours_or_whole_images_sees_whole_images(game, monkeypatch):
    def refuse(*_):
        raise AssertionError("pixels were predicted by themselves")

    monkeypatch.setattr(type(game.learner), "predict_pixels", refuse)
    units = game.offer.units[0, :4]
    for needs in (make("ripu").needs, make("entropy", as_released=True).needs, make("dald").needs):
        game._reader().reduce(units, needs)
    game._reader().reduce(units, [Reducer("own", lambda prediction, grid: grid.pool(prediction.softmax.margin))])
    with pytest.raises(AssertionError, match="by themselves"):
        game._reader().reduce(units, make("margin").needs)


def test_a_tenth_of_a_pixel_an_image_is_bought_in_a_turn(game):
    assert (game.options.slates, game.offer.most, game.ledger.units) == (2, 2, 2)
    for images, slates in ((367, 37), (2975, 298), (4998, 500), (200, 20), (1, 1)):
        assert GameOptions(slates_per_image=0.1).on(images).slates == slates
    assert GameOptions(slates_per_image=10).on(367).slates == 3670
    turns = 1
    while not game.over:
        game.step(np.arange(2))
        turns += 1
    assert (turns, game.ledger.units, game.ledger.units_per_image) == (6, 11, 1.0)


def test_an_env_of_pixels_observes_a_sample_of_the_state_set(world):
    features = ("features=embedding", "features.components=4", "game.draw=uniform", "game.redraw=turn")
    config = composed("train_agent", [*TINY, *features, "game.pool_per_image=null"])
    env = EnvFactory(config)()
    observation, _ = env.reset(seed=0)
    # Three images of D_T, so one slate.
    assert observation["state"].shape[0] == 3 * STATE_PIXELS
    assert observation["candidates"].shape[:2] == (1, 20)
    again, _ = env.reset(seed=0)
    assert all((observation[key] == again[key]).all() for key in observation)
    assert env.observation_space.contains(observation)
    _, reward, over, _, _ = env.step(np.array([0]))
    assert np.isfinite(reward) and not over


def test_stages_read_of_pixels_what_each_of_them_needs(game, monkeypatch):
    """Noisy predictions are made of the pixels that reach the stage that wants them."""
    coverage = {"max_herding": {"embedding": "source"}}
    noisy = {"edald": {"noise": {"kind": "grainy", "draws": 2}}}
    stages = [{"by": coverage, "per_image": 3}, {"by": coverage, "share": 0.5}, {"by": noisy}]
    asked, predict = [], type(game.learner).predict_pixels

    def watched(learner, where, noises=(), generator=None):
        asked.append((sum(map(len, where.values())), [noise.kind for noise in noises]))
        return predict(learner, where, noises, generator)

    monkeypatch.setattr(type(game.learner), "predict_pixels", watched)
    acquisition = make("stages", stages=stages)
    chosen = acquisition.select(game.view(acquisition.needs, False), 2, np.random.default_rng(0))
    assert len(np.unique(chosen)) == 2
    # 12 candidates of each of 11 images, less two that are bought, which are read as what is covered already.
    assert asked == [(12 * 11, []), (round(0.5 * 3 * 11), ["grainy"])]


def test_without_labels_of_the_state_set_it_covers_nothing(world):
    game = world.game("compare", observed=False)
    game.reset(0)
    acquisition = make("max_herding", embedding="source", prefilter=0)
    assert game.view(acquisition.needs, False).labelled("embedding source").shape == (0, 15)
    game.step(np.array([3, 4]))
    assert game.view(acquisition.needs, False).labelled("embedding source").shape == (2, 15)
