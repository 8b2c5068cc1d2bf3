"""A small world for tables: drawn streets of 96 x 128, a cache of its own."""

import pytest

SMALL = [
    "dataset.images=60", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "protocol.counts={state: 5, train: 10, compare: 6, dev: 2}",
    "theta0.fit.steps=5", "theta0.fit.batch=4", "theta0.frozen_steps=3", "features.components=4",
    "game.unit=[24,32]", "game.slates=3", "game.candidates=3", "game.budget=6", "game.learn.steps=2",
    "game.learn.batch=2", "network.widths=[8,8,8,8,8]", "network.pyramid=8",
    "agent.warm_up=4", "agent.batch_size=2", "agent.replay_size=16", "training.tensorboard=false",
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Stores and theta_0 of these tests, made once."""
    folder = tmp_path_factory.getbasetemp() / "benchmarks"
    monkeypatch.setenv("RALSEG_CACHE", str(folder))
    return folder


@pytest.fixture
def small():
    """Overrides of a game that takes no time."""
    return list(SMALL)
