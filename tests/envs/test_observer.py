import numpy as np
import pytest

from ralseg.envs import World
from ralseg.features import similarity_histogram
from ralseg.features.reduction import reduce_units
from ralseg.features.unit_features import feature_reducers


@pytest.fixture
def game(configured):
    """A game whose observation compares with the embeddings of what was bought."""
    return World(configured("features=transferable", "features.components=4", "game.budget=12")).game("train")


def first_of_each(game):
    return np.where(game.offer.mask.any(1), game.offer.mask.argmax(1), -1)


def embeddings(game, units):
    return game._reader().reduce(np.asarray(units), feature_reducers({"embedding"}))["embedding"]


def test_what_was_bought_is_remembered_as_it_was_on_offer(game):
    game.reset(3)
    bought = []
    while not game.over:
        observation = game.view().observation
        width = game.spec.width("similarity_labelled")
        found = observation["candidates"][game.offer.mask][:, -2 * width : -width]
        every = {image: np.arange(len(game.pool.grid(image))) for image in game.state}
        predictions = game.learner.predict(game.state)
        rows = reduce_units(predictions, feature_reducers({"embedding"}), game.pool.grid, every)
        state = np.concatenate(rows["embedding"])
        project = game.spec.components.transform
        own = project(embeddings(game, game.offer.units[game.offer.mask]))
        expected = similarity_histogram(own, project(np.concatenate([state, *bought])))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        choice = first_of_each(game)
        units = game.offer.units[np.arange(len(choice)), choice][choice >= 0]
        # In the order of purchase, at the weights before they were learned from.
        bought.append(embeddings(game, units[: game.ledger.left(12, "units")]))
        turn = game.step(choice)
        assert turn.units.tolist() == units[: len(turn.units)].tolist()
    assert len(bought) > 2


def test_units_that_were_not_observed_are_observed_when_bought(game):
    def last(looking):
        game.reset(5)
        for turn in range(3):
            if looking == "always" or (looking == "at first" and turn == 0):
                _ = game.view().observation
            game.step(first_of_each(game))
        return game.view().observation["candidates"]

    always = last("always")
    np.testing.assert_array_equal(last("never"), always)
    np.testing.assert_array_equal(last("at first"), always)


def test_another_game_remembers_nothing(game):
    game.reset(3)
    first = game.view().observation["candidates"]
    game.step(first_of_each(game))
    assert not np.array_equal(game.view().observation["candidates"], first)
    game.reset(3)
    np.testing.assert_array_equal(game.view().observation["candidates"], first)
