"""theta_0: the weights that every game of a seed starts from, trained once and kept."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from safetensors.torch import save
from torch import Tensor

from ralseg.foundation import RalsegError, atomic_write, generator, integer
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.devices import Precision, compute_dtype
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import FitOptions, LearnOptions, SupervisedLearner
from ralseg.segmentation.losses import Loss
from ralseg.segmentation.networks import Cut, SegmentationNetwork, read_tensors
from ralseg.segmentation.store import ImageStore

RECIPE = 2
"""Part of the name of kept weights: raise it whenever the training below gives other weights."""


@dataclass(frozen=True)
class Theta0Options:
    """How theta_0 is made.

    Attributes:
        streets: images of Streets to pretrain on, in GTA's role; 0: none. The classes must be Streets' own.
        use_state: whether D_S is trained on (afterwards).
        use_train: whether D_T is, too: "no", "yes", or "compare" (only when policies are compared, as released).
        file: a checkpoint to take instead of training.
        fit: how long and how, each time.
        frozen_hidden: width of the MLP head of the frozen game.
        frozen_steps: optimiser steps of that head on D_S.
    """

    streets: int = 0
    use_state: bool = True
    use_train: Literal["no", "compare", "yes"] = "no"
    file: str | None = None
    fit: FitOptions = field(default_factory=lambda: FitOptions(steps=500))
    frozen_hidden: int = 64
    frozen_steps: int = 300

    def __post_init__(self) -> None:
        if self.streets < 0 or self.frozen_hidden < 1 or self.frozen_steps < 1:
            raise RalsegError("theta0: streets is 0 or more, frozen_hidden and frozen_steps are 1 or more")
        if not (self.streets or self.use_state or self.use_train == "yes" or self.file):
            raise RalsegError("theta0 is trained on nothing; set theta0.use_state=true, theta0.streets or theta0.file")


def theta0(
    make_network: Callable[[], SegmentationNetwork],
    store: ImageStore,
    images: Mapping[str, Sequence[int]],
    options: Theta0Options,
    *,
    loss: Loss,
    cut: Cut,
    comparing: bool = False,
    seed: int,
    description: object,
    cache: Path,
    device: str | torch.device = "cpu",
    precision: Precision = "auto",
    on_step: Callable[[int, int], None] | None = None,
) -> SegmentationNetwork:
    """A network at theta_0, from the cache if the same was trained before.

    Args:
        make_network: makes the untrained network; torch's generator is seeded before.
        store: images and labels.
        images: `state` (D_S) and `train` (D_T), indices in the store.
        options: see `Theta0Options`.
        loss: of the training.
        cut: with `frozen` the network gets its MLP head, trained on D_S.
        comparing: whether policies are compared, or else one is learned.
        seed: the root seed.
        description: what tells the network from others, JSON values.
        cache: folder of the kept weights.
        device: where to train.
        precision: see `SupervisedLearner`.
        on_step: called with (step, steps) while training.

    Raises:
        RalsegError: if Streets has other classes, or the file is of another network.
    """
    torch.manual_seed(integer(seed, "theta0", "weights"))
    network = make_network()
    if cut == "frozen":
        network.add_frozen_head(options.frozen_hidden)
    if options.file:
        load_weights(network, read_tensors(options.file), options.file)
        return network
    with_train = options.use_train == "yes" or (options.use_train == "compare" and comparing)
    chosen = [*(images["state"] if options.use_state else ()), *(images["train"] if with_train else ())]
    of_head = images["state"] if cut == "frozen" else ()
    facts = {
        "recipe": RECIPE,
        "network": description,
        "tensors": [(name, list(tensor.shape)) for name, tensor in network.state_dict().items()],
        "options": asdict(options) | {"use_train": with_train},
        "loss": loss,
        "seed": seed,
        "dtype": str(compute_dtype(precision, torch.device(device))),
        # What they hold, not where and since when they lie there: a copy of a data set has the same theta_0.
        "data": [[store.content(image) for image in part] for part in (chosen, of_head)],
        "streets": [store.dataset.classes, store.size(0), store.scale] if options.streets else None,
    }
    key = hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()[:16]
    path = cache / f"theta0-{key}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            # Of trainings that are started side by side one makes it, the others wait.
            if not path.exists():
                learner_of = partial(SupervisedLearner, network, device=device, precision=precision)
                _train(network, learner_of, store, chosen, of_head, options, loss, seed, cache, on_step)
                with atomic_write(path) as file:
                    file.write(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}))
    load_weights(network, read_tensors(path), path)
    return network


def load_weights(network: SegmentationNetwork, tensors: Mapping[str, Tensor], source: object) -> None:
    """Load weights into a network.

    Raises:
        RalsegError: if a tensor is missing, unknown or of another shape.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise RalsegError(f"{source}: the checkpoint is of another network ({reason})") from error


def _train(network, learner_of, store, chosen, of_head, options, loss, seed, cache, on_step) -> None:
    if options.streets:
        _pretrain_on_streets(network, learner_of, store, options, loss, seed, cache, on_step)
    if chosen:
        learner = learner_of(store, LearnOptions(cut="full", loss=loss))
        learner.fit(revealed(store, chosen), options.fit, generator(seed, "theta0", "state"), on_step=on_step)
        network.load_state_dict(learner.weights())
    if of_head:
        _train_frozen_head(network, learner_of, store, of_head, options, loss, seed)


def _pretrain_on_streets(network, learner_of, store, options, loss, seed, cache, on_step) -> None:
    variant = "cityscapes" if len(store.dataset.classes) == 19 else "camvid"
    streets = Streets(
        options.streets, size=store.size(0), seed=integer(seed, "theta0", "streets") % 2**31, variant=variant
    )
    if streets.classes != store.dataset.classes:
        raise RalsegError(f"theta0.streets: {store.dataset.name} has other classes than Streets; set theta0.streets=0")
    drawn = ImageStore(streets, streets.names, store.scale, cache)
    learner = learner_of(drawn, LearnOptions(cut="full", loss=loss))
    learner.fit(revealed(drawn, range(len(drawn))), options.fit, generator(seed, "theta0", "streets"), on_step=on_step)
    network.load_state_dict(learner.weights())


def _train_frozen_head(network, learner_of, store, state, options, loss, seed) -> None:
    head = network.frozen_head
    learner = learner_of(store, LearnOptions(cut="frozen", loss=loss))
    columns = [maps[0] for maps in learner.lower_maps(state)]
    values = torch.cat([column.float().permute(1, 0, 2, 3).flatten(1) for column in columns], dim=1)
    head.norm.running_mean.copy_(values.mean(1))
    head.norm.running_var.copy_(values.var(1))
    settings = LearnOptions(cut="frozen", loss=loss, steps=options.frozen_steps, averaging=0.98, learning_rate=3e-3)
    learner = learner_of(store, settings)
    everywhere = [(i, (0.5, 0.5)) for i in state]
    learner.learn(revealed(store, state), everywhere, generator(seed, "theta0", "frozen"))
    network.load_state_dict(learner.weights())
