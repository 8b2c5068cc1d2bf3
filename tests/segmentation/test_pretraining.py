import dataclasses
import json
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ralseg.foundation import RalsegError, integer
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.learners import FitOptions, LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import SmallFPN
from ralseg.segmentation.pretraining import Theta0Options, revealed, theta0
from ralseg.segmentation.store import ImageStore

FIT = FitOptions(steps=4, batch=2, crops=Crops((32, 48)))
OPTIONS = Theta0Options(fit=FIT, frozen_hidden=8, frozen_steps=3)
IMAGES = {"state": [0, 1, 2], "train": [3, 4]}


def accuracy(found):
    """Share of the labelled pixels that are right, in percent."""
    return 100 * np.trace(found.counts) / found.counts.sum()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    streets = Streets(9, (64, 96))
    return ImageStore(streets, streets.names, 0.5, tmp_path_factory.mktemp("store"))


def make_network():
    return SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16)


def pretrained(store, cache, options=OPTIONS, images=IMAGES, **changes):
    settings = {"loss": "plain", "cut": "partial", "seed": 0, "description": {"widths": [8]}} | changes
    return theta0(settings.pop("make", make_network), store, images, options, cache=cache, **settings)


def accuracy_of(network, store, options):
    learner = SupervisedLearner(network, LearnerImages(store), options)
    return accuracy(Evaluator(store, 11)(learner, IMAGES["state"]))


def weights_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def kept(cache):
    return sorted(cache.glob("theta0-*.safetensors"))


def test_the_same_seed_is_the_same_theta0(store, tmp_path):
    first = weights_of(pretrained(store, tmp_path / "a"))
    torch.manual_seed(99)
    assert same(first, weights_of(pretrained(store, tmp_path / "b")))
    assert not same(first, weights_of(pretrained(store, tmp_path / "b", seed=1)))


@pytest.mark.parametrize("cut", ["partial", "frozen"])
def test_what_was_trained_once_is_kept(store, tmp_path, cut):
    steps = []
    first = weights_of(pretrained(store, tmp_path, cut=cut, on_step=lambda *s: steps.append(s)))
    assert steps == [(i, 4) for i in range(1, 5)]
    assert len(kept(tmp_path)) == 1
    again = pretrained(store, tmp_path, cut=cut, on_step=lambda *s: steps.append(s))
    assert same(first, weights_of(again))
    assert (len(steps), len(kept(tmp_path))) == (4, 1)


def test_of_two_that_start_at_once_one_trains(store, tmp_path):
    second, steps = [], []
    other = threading.Thread(
        target=lambda: second.append(weights_of(pretrained(store, tmp_path, on_step=lambda *s: steps.append(s))))
    )

    def start_other(step, _):
        if step == 1:
            other.start()
            other.join(1)

    first = weights_of(pretrained(store, tmp_path, on_step=start_other))
    other.join()
    assert same(first, second[0])
    assert not steps


def test_the_order_of_settings_is_no_setting(store, tmp_path):
    pretrained(store, tmp_path, description={"decoder": {"width": 8, "depth": 2}})
    pretrained(store, tmp_path, description={"decoder": {"depth": 2, "width": 8}})
    assert len(kept(tmp_path)) == 1


class Copied(Streets):
    """Streets in another folder and of another day; the label of one image, if any, has lost its class 0."""

    def __init__(self, mended=None):
        super().__init__(9, (64, 96))
        self.identity, self.mended = "another folder", mended

    def fingerprint(self, name):
        return "another day"

    def load(self, name):
        image, label = super().load(name)
        return image, np.where(label == 0, 255, label).astype("uint8") if name == self.mended else label


@pytest.mark.parametrize(
    ("mended", "found"),
    [
        pytest.param(None, 1, id="all as it was"),
        pytest.param("street_00000", 2, id="learned from"),
        pytest.param("street_00008", 1, id="not learned from"),
    ],
)
def test_a_copy_of_what_it_learns_from_has_the_same_theta0(store, tmp_path, mended, found):
    pretrained(store, tmp_path)
    copied = Copied(mended)
    pretrained(ImageStore(copied, copied.names, 0.5, tmp_path / "copy"), tmp_path)
    assert len(kept(tmp_path)) == found


def test_streets_alone_are_drawn_as_the_data_set_is(store, tmp_path):
    """Where nothing of the data set is learned from, its size, scale and classes still say how Streets are drawn."""
    options = dataclasses.replace(OPTIONS, streets=9, use_state=False)
    streets = Streets(9, (64, 96))
    stores = [store, ImageStore(streets, streets.names, 0.25, tmp_path / "scaled")]
    larger = Streets(9, (96, 128))
    stores.append(ImageStore(larger, larger.names, 0.5, tmp_path / "larger"))
    for number, one in enumerate(stores, 1):
        pretrained(one, tmp_path, options)
        assert len(kept(tmp_path)) == number


def test_theta0_depends_on_the_images_of_the_frozen_head(store, tmp_path):
    options = dataclasses.replace(OPTIONS, use_train="yes")
    for number, state in enumerate(([0, 1], [0, 1, 2]), 1):
        train = [image for image in range(4) if image not in state]
        pretrained(store, tmp_path, options, {"state": state, "train": train}, cut="frozen")
        assert len(kept(tmp_path)) == number


def test_theta0_depends_on_every_setting(store, tmp_path):
    """Everything that theta_0 depends on is part of the name under which it is kept."""
    variants = [
        {},
        {"seed": 1},
        {"loss": "balanced"},
        {"cut": "frozen"},
        {"description": {"widths": [16]}},
        {"options": dataclasses.replace(OPTIONS, use_train="yes")},
        {"options": dataclasses.replace(OPTIONS, fit=dataclasses.replace(FIT, learning_rate=1e-3))},
        {"images": IMAGES | {"state": [0, 1, 5]}},
        {"make": lambda: SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=20)},
    ]
    for number, variant in enumerate(variants, 1):
        pretrained(store, tmp_path, **variant)
        assert len(kept(tmp_path)) == number, variant
    pretrained(store, tmp_path, cut="full")
    assert len(kept(tmp_path)) == len(variants)


def test_it_learns_from_the_images_it_may_see(store, tmp_path, monkeypatch):
    asked = []
    label = store.label
    monkeypatch.setattr(store, "label", lambda i: asked.append(i) or label(i))
    pretrained(store, tmp_path / "a")
    assert set(asked) == {0, 1, 2}
    asked.clear()
    pretrained(store, tmp_path / "b", dataclasses.replace(OPTIONS, use_state=False, use_train="yes"))
    assert set(asked) == {3, 4}
    options = dataclasses.replace(OPTIONS, fit=dataclasses.replace(FIT, steps=60, batch=4))
    trained, untrained = (
        accuracy_of(network, store, LearnOptions())
        for network in (pretrained(store, tmp_path / "c", options), make_network())
    )
    assert trained > untrained + 10


def test_pretraining_on_streets(store, tmp_path):
    options = dataclasses.replace(OPTIONS, streets=9, use_state=False)
    network = pretrained(store, tmp_path, options)
    assert len(kept(tmp_path)) == 1
    assert [path.name.split("-")[0] for path in tmp_path.iterdir() if path.is_dir()] == ["streets"]
    fresh = pretrained(store, tmp_path / "other", options)
    assert same(weights_of(network), weights_of(fresh))
    further = pretrained(store, tmp_path, dataclasses.replace(options, use_state=True))
    assert not same(weights_of(network), weights_of(further))


def test_streets_of_other_classes(tmp_path):
    class Renamed(Streets):
        def __init__(self):
            super().__init__(9, (64, 96))
            self.classes = tuple(f"class {i}" for i in range(11))

    data = Renamed()
    store = ImageStore(data, data.names, 0.5, tmp_path)
    with pytest.raises(RalsegError, match=r"streets has other classes than Streets; set theta0.streets=0"):
        pretrained(store, tmp_path, dataclasses.replace(OPTIONS, streets=9))
    assert not kept(tmp_path)


def test_the_frozen_head_is_trained_and_its_statistics_are_those_of_the_state_set(store, tmp_path):
    network = pretrained(store, tmp_path, cut="frozen", precision="float32").eval()
    partial = weights_of(pretrained(store, tmp_path, precision="float32"))
    body = {name: tensor for name, tensor in weights_of(network).items() if not name.startswith("frozen_head")}
    # The two games share everything below; only drawing the head may come between them.
    assert set(body) == set(partial)
    learner = SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="frozen"), precision="float32")
    columns = list(learner.lower_maps(IMAGES["state"]))
    values = torch.cat([maps[0].permute(1, 0, 2, 3).flatten(1) for maps in columns], dim=1)
    alive = network.frozen_head.norm.running_var > 1e-3
    assert alive.sum() > 10
    torch.testing.assert_close(values[alive].mean(1), torch.zeros(int(alive.sum())), rtol=0, atol=1e-3)
    torch.testing.assert_close(values[alive].var(1), torch.ones(int(alive.sum())), rtol=0, atol=2e-2)
    longer = pretrained(store, tmp_path, dataclasses.replace(OPTIONS, frozen_steps=60), cut="frozen")
    found = [accuracy_of(n, store, LearnOptions(cut="frozen")) for n in (network, longer)]
    assert found[1] > found[0]


def test_weights_from_a_file(store, tmp_path):
    network = make_network()
    save_file(weights_of(network), tmp_path / "own.safetensors")
    options = dataclasses.replace(OPTIONS, file=str(tmp_path / "own.safetensors"))
    assert same(weights_of(network), weights_of(pretrained(store, tmp_path, options)))
    assert not kept(tmp_path)
    with pytest.raises(
        RalsegError,
        match=r"own.safetensors: tensor frozen_head.norm.running_mean is missing \(6 in all\)",
    ):
        pretrained(store, tmp_path, options, cut="frozen")
    with pytest.raises(RalsegError, match=r"own.safetensors: tensor .*; it is not a checkpoint of this") as caught:
        pretrained(store, tmp_path, options, make=lambda: SmallFPN(5))
    assert "\n" not in str(caught.value)
    with pytest.raises(RalsegError, match=r"nowhere.safetensors: no such checkpoint"):
        pretrained(store, tmp_path, dataclasses.replace(OPTIONS, file=str(tmp_path / "nowhere.safetensors")))


def test_a_damaged_cache_is_refused(store, tmp_path):
    pretrained(store, tmp_path)
    kept(tmp_path)[0].write_bytes(b"damaged")
    with pytest.raises(RalsegError, match="not a readable checkpoint"):
        pretrained(store, tmp_path)


def test_revealed_is_all_there_is(store):
    labels = revealed(store, [4, 1])
    assert labels.images == [4, 1]
    np.testing.assert_array_equal(labels.label(1), store.label(1))
    np.testing.assert_array_equal(labels.class_counts, store.class_counts()[[1, 4]].sum(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streets": -1}, "^theta0.streets=-1 is out of range; it must be 0 or more"),
        ({"frozen_hidden": 0}, "^theta0.frozen_hidden=0 is out of range; it must be 1 or more"),
        ({"use_state": False}, "the network would be trained on nothing; set use_state=true"),
        ({"untrained": True}, "^untrained=true contradicts the other settings; choose theta0=untrained"),
        ({"use_state": False, "untrained": True, "streets": 4}, "^untrained=true contradicts the other settings"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(RalsegError, match=message):
        Theta0Options(**options)


def test_an_untrained_network_is_as_it_was_made_but_for_the_scale_of_its_inputs(store, tmp_path):
    options = dataclasses.replace(OPTIONS, use_state=False, untrained=True)
    torch.manual_seed(integer(0, "theta0", "weights"))
    made = make_network()
    made.add_frozen_head(8)
    made, found = weights_of(made), weights_of(pretrained(store, tmp_path, options, cut="frozen"))
    other = {name for name in made if not torch.equal(made[name], found[name])}
    assert other and all("running_" in name for name in other)


def test_options_that_came_later_do_not_change_the_names_of_kept_weights():
    assert "untrained" not in OPTIONS.facts() and "encoder_rate" not in OPTIONS.facts()["fit"]
    assert dataclasses.replace(OPTIONS, use_state=False, untrained=True).facts()["untrained"]


def test_options_can_be_written():
    assert json.loads(json.dumps(dataclasses.asdict(OPTIONS)))["fit"]["steps"] == 4
