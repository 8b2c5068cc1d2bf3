import numpy as np
import pytest

from ralseg.features import UnitGrid
from ralseg.features.prediction import Prediction
from ralseg.features.units import Reducer, from_game
from ralseg.foundation import RalsegError


def test_a_reducer_is_for_candidates_and_for_any_choice_of_units_unless_it_says_otherwise():
    reducer = Reducer("zeros", lambda prediction, units: np.zeros((1, len(units))))
    assert (reducer.noise, reducer.labelled, reducer.whole_grid) == (None, False, False)


def test_what_only_a_game_knows_cannot_be_found_without_one():
    reducer = from_game("credit")
    assert (reducer.name, reducer.labelled, reducer.whole_grid) == ("credit", False, False)
    maps = np.zeros((1, 2, 4, 6), np.float32)
    with pytest.raises(RalsegError, match="credit is known only to a game that sees true labels"):
        reducer.find(Prediction(maps, maps, (maps,)), UnitGrid(4, 6, 2, 3))
