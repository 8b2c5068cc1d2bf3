import numpy as np
import pytest

from ralseg.benchmarks.reward_subset import averaged, compared, each, rewards
from ralseg.configs import composed
from ralseg.envs import World


def test_rewards_of_parts_come_from_one_pass_over_the_images(small):
    game = World(composed("train_agent", small)).game("train", observed=False)
    images, places = game.reward, np.array([0, 2])
    game.reset(0)
    before = each(game, images), game.evaluator(game.learner, [images[i] for i in places]).miou
    game.step(np.zeros(3, int))
    after = each(game, images), game.evaluator(game.learner, [images[i] for i in places]).miou
    assert before[0].sum() == sum((game.pool.store.label(i) != 255).sum() for i in images)
    found = rewards([np.stack([before[0], after[0]])], places)
    assert found == pytest.approx([after[1] - before[1]], abs=0.05)
    assert found != rewards([np.stack([before[0], after[0]])], np.arange(len(images)))


def test_figures_by_hand():
    found = compared(np.array([1.0, -1.0, 2.0, -2.0]), np.array([1.5, 0.5, 2.5, -1.5]))
    assert found["bias"] == pytest.approx((0.5 + 1.5 + 0.5 + 0.5) / 4)
    assert found["sd"] == pytest.approx(np.std([0.5, 1.5, 0.5, 0.5]))
    assert found["same_sign"] == 0.75
    rows = [{"bias": 1.0, "sd": 2.0}, {"bias": -3.0, "sd": 4.0}]
    assert averaged(rows) == {"bias": -1.0, "sd": 3.0, "bias_size": 2.0}
