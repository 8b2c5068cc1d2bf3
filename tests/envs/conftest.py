"""A small world of drawn streets, and a store without files for the parts that need no image."""

from collections import Counter
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from ralseg.configs import composed
from ralseg.envs import World

SMALL = [
    "dataset=streets",
    "dataset.images=40",
    "dataset.size=[96,128]",
    "network=small_fpn",
    "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}",
    "theta0.fit.steps=5",
    "theta0.fit.batch=4",
    "theta0.frozen_steps=3",
    "features.components=4",
    "game.unit=[24,32]",
    "game.slates=3",
    "game.candidates=3",
    "game.budget=8",
    "game.learn.steps=2",
    "game.learn.batch=2",
]


class PlainStore:
    """Labels of any sizes and of three classes, without images; counts how often each label is read."""

    def __init__(self, labels):
        self.dataset = SimpleNamespace(classes=("a", "b", "c"))
        self.read = Counter()
        self.labels = [np.asarray(label, np.uint8) for label in labels]
        self.names = [f"image_{i}" for i in range(len(labels))]

    def index(self, name):
        return self.names.index(name)

    def size(self, i):
        return self.labels[i].shape

    def label(self, i):
        self.read[i] += 1
        return self.labels[i]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Stores and theta_0 of these tests, made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALSEG_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def configured(cache):
    """The configuration of a small game; another data set or other features drop what is set for the small one's."""

    def make(*overrides):
        others = tuple(g for g in ("dataset", "protocol", "features") if any(o.startswith(f"{g}=") for o in overrides))
        return composed("train_agent", [*(o for o in SMALL if not o.startswith(others)), *overrides])

    return make


@pytest.fixture(scope="session")
def world(configured):
    """The small world."""
    return World(configured())


@pytest.fixture
def game(world):
    """A game of the small world, with credit and reference."""
    return world.game("train", credit=True, reference=True)


@pytest.fixture
def plain_store():
    """Makes a store of the given labels."""
    return PlainStore


@pytest.fixture
def passes_of(monkeypatch):
    """Counts the images that go through the upper part of a learner's network, by the version of the weights."""

    def counting(learner):
        passes = Counter()
        maps_of = learner.maps().__class__
        given = maps_of.__call__

        def counted(self, images, again=False):
            # Learning reads maps through the same object; only inference is counted.
            if torch.is_inference_mode_enabled():
                passes.update((learner.version, image) for image in images)
            return given(self, images, again)

        monkeypatch.setattr(maps_of, "__call__", counted)
        return passes

    return counting


@pytest.fixture(scope="session")
def ragged_folder(tmp_path_factory):
    """A folder of images of two sizes and three classes, with void and units that no size is a multiple of."""
    root = tmp_path_factory.mktemp("ragged")
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    names = [f"r{i:02d}" for i in range(16)]
    for i, name in enumerate(names):
        height, width = [(70, 90), (64, 101)][i % 2]
        label = np.kron(rng.integers(0, 3, (10, 13)), np.ones((8, 8), int))[:height, :width].astype(np.uint8)
        image = (80 * label[..., None] + rng.integers(0, 40, (height, width, 3))).astype(np.uint8)
        label[:5, :7] = 255
        cv2.imwrite(str(root / "images" / f"{name}.png"), image)
        cv2.imwrite(str(root / "labels" / f"{name}.png"), label)
    (root / "classes.yaml").write_text(
        "classes: [{name: a, id: 0}, {name: b, id: 1}, {name: c, id: 2}]\n"
        f"subsets: {{train: [{', '.join(names[:10])}], val: [{', '.join(names[10:14])}], "
        f"test: [{', '.join(names[14:])}]}}\n"
    )
    return root


@pytest.fixture(scope="session")
def ragged(ragged_folder, configured):
    """Configuration of a game on the ragged folder."""

    def make(*overrides):
        return configured(
            "dataset=folder", f"dataset.root={ragged_folder}", "protocol=folder",
            "protocol.fractions={state: 0.2, train: 0.4, compare: 0.4, dev: 0}", *overrides,
        )  # fmt: skip

    return make
