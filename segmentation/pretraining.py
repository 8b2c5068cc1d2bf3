"""theta_0: the weights from which every game of a seed starts, trained once and cached."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from filelock import FileLock
from safetensors.torch import save

from ralseg.foundation import Count, RalsegError, Range, Settings, atomic_write, generator, integer, unwritable
from ralseg.segmentation.datasets import SOURCE_DOMAIN, Streets
from ralseg.segmentation.devices import Precision, compute_dtype
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import (
    FitOptions,
    LearnerImages,
    LearnOptions,
    SupervisedLearner,
    TrainingSet,
    fitted,
    taught,
)
from ralseg.segmentation.losses import Loss
from ralseg.segmentation.networks import Cut, SegmentationNetwork, load_weights, read_tensors
from ralseg.segmentation.sources import Source
from ralseg.segmentation.store import ELSEWHERE, ImageStore

CAME_LATER = ("untrained", "use_source_domain")
RECIPE = 2
"""Part of the name of cached weights; raise it whenever the training below gives other weights."""


@dataclass(frozen=True)
class Theta0Options(Settings, group="theta0"):
    """The options of theta_0.

    Attributes:
        streets: number of images of Streets to pretrain on first, in the role of GTA; 0 for none. The data set must
            have the classes of Streets.
        use_source_domain: whether to train on the source domain of a data set across domains, before D_S.
        use_state: whether to train on D_S.
        use_train: whether to train on D_T as well: "no", "yes", or "compare" (only when policies are compared, as
            released).
        file: a checkpoint to use instead of training.
        fit: length and settings of each training.
        frozen_hidden: width of the MLP head of the frozen game.
        frozen_steps: optimiser steps of that head on D_S.
        untrained: whether the game starts from a network that has seen no label; D_S scales its inputs all the same.
    """

    streets: Annotated[int, Range(0)] = 0
    use_state: bool = True
    use_train: Literal["no", "compare", "yes"] = "no"
    file: str | None = None
    fit: FitOptions = field(default_factory=lambda: FitOptions(steps=500))
    frozen_hidden: Count = 64
    frozen_steps: Count = 300
    untrained: bool = False
    use_source_domain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        always = self.streets or self.use_source_domain or self.use_state or self.file is not None
        if self.untrained and (always or self.use_train != "no"):
            raise RalsegError("untrained=true contradicts the other settings; choose theta0=untrained")
        if not (self.untrained or always or self.use_train == "yes"):
            raise RalsegError(
                "the network would be trained on nothing; set use_state=true, streets=<images> or file=<checkpoint>, "
                "or choose theta0=untrained"
            )

    def facts(self) -> dict[str, Any]:
        """The options as JSON values, for digests. Those that came later are left out where they are false."""
        found = asdict(self) | {"fit": self.fit.facts()}
        return {key: value for key, value in found.items() if key not in CAME_LATER or value}

    def check(self, network: SegmentationNetwork, source_domain: bool) -> None:
        """Refuse to keep an encoder as it is that starts from nothing, and to train on a source domain without one.

        Args:
            network: the network that is trained.
            source_domain: whether the data set has one.

        Raises:
            RalsegError: see above.
        """
        if self.use_source_domain and not source_domain:
            raise RalsegError(
                "theta0.use_source_domain: this data set has no source domain; choose a data set of two domains, such "
                "as dataset=streets_to_camvid, or set theta0=state"
            )
        if self.fit.encoder_rate == 0 and not (network.pretrained or self.file is not None):
            raise RalsegError(
                "theta0.fit.encoder_rate=0 keeps the encoder as it is, and that of this network starts from nothing; "
                "set theta0=state, or give the network weights"
            )


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
    source: Source | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> SegmentationNetwork:
    """A network at theta_0, from the cache if it was trained before.

    Args:
        make_network: makes the untrained network; torch's generator is seeded first.
        store: images and labels.
        images: store indices of `state` (D_S), `train` (D_T) and, if there is one, `source_domain`.
        options: see `Theta0Options`.
        loss: the loss of the training.
        cut: the game; with `frozen` the network gets its MLP head, trained on D_S.
        comparing: whether policies are compared, rather than one trained.
        seed: the root seed.
        description: identifies the network, JSON values.
        cache: the folder of cached weights.
        device: the device of the training.
        precision: see `SupervisedLearner`.
        source: the feature source of the network's maps, without Streets; None for the network's own stages.
        on_step: called with (step, steps) while training.

    Raises:
        RalsegError: if Streets has other classes, or the file belongs to another network.
    """
    torch.manual_seed(integer(seed, "theta0", "weights"))
    network = make_network()
    if source is None:
        options.check(network, bool(images.get(SOURCE_DOMAIN, ())))
    if cut == "frozen" and source is None:
        network.add_frozen_head(options.frozen_hidden)
    if options.file is not None:
        load_weights(network, read_tensors(options.file, "theta0.file"), options.file, "this network")
        return network
    with_train = options.use_train == "yes" or (options.use_train == "compare" and comparing)
    chosen = [*(images["state"] if options.use_state else ()), *(images["train"] if with_train else ())]
    of_source = images.get(SOURCE_DOMAIN, ()) if options.use_source_domain else ()
    of_head = images["state"] if cut == "frozen" or source is not None else ()
    if source is not None:
        # A source is not trained, and it has no maps of Streets.
        options = replace(options, streets=0)
    facts = {
        "recipe": RECIPE + network.revision,
        "network": description,
        "tensors": [(name, list(tensor.shape)) for name, tensor in network.state_dict().items()],
        "options": options.facts() | {"use_train": with_train},
        "loss": loss,
        "seed": seed,
        "dtype": str(compute_dtype(precision, torch.device(device))),
        # Contents, not paths and times, so that a copy of a data set has the same theta_0.
        "data": [
            [store.content(image) for image in part] for part in (chosen, of_head, *[of_source] * bool(of_source))
        ],
        "streets": [store.dataset.classes, store.size(0), store.scale] if options.streets else None,
    }
    if source is not None:
        facts["source"] = source.key
    key = hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()[:16]
    path = cache / f"theta0-{key}.safetensors"
    if not path.exists():
        with _locked(path):
            # If trainings start side by side, one makes it and the others wait.
            if not path.exists():
                make = partial(SupervisedLearner, network, device=device, precision=precision, source=source)
                training = _Training(network, make, store, options, loss, seed, cache, on_step)
                training.run(of_source, chosen, of_head, source is None)
                with atomic_write(path) as file:
                    file.write(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}))
    load_weights(network, read_tensors(path), path, "this network")
    return network


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a file of the cache until the block ends."""
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise unwritable(path.parent, error, ELSEWHERE) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Training:
    """The steps from an untrained network to theta_0."""

    network: SegmentationNetwork
    make: Callable[[LearnerImages, LearnOptions], SupervisedLearner]
    store: ImageStore
    options: Theta0Options
    loss: Loss
    seed: int
    cache: Path
    on_step: Callable[[int, int], None] | None

    def run(self, of_source: Sequence[int], chosen: Sequence[int], of_head: Sequence[int], own_stages: bool) -> None:
        """Train on Streets, the source domain, the chosen images, then the head of the frozen game, as configured.

        Args:
            of_source: store indices of the images of the source domain.
            chosen: store indices of the images that the network is trained on.
            of_head: store indices of the images that train the head of the frozen game or, with a source, standardise
                its maps.
            own_stages: whether the network has its own stages, rather than a source.
        """
        if not own_stages:
            self._standardise(of_head)
        if self.options.streets:
            streets = self._streets()
            self._fit(streets, range(len(streets)), "streets")
        if of_source:
            self._fit(self.store, of_source, SOURCE_DOMAIN)
        if chosen:
            self._fit(self.store, chosen, "state")
        if of_head and own_stages:
            self._standardise(of_head)
            if not self.options.untrained:
                self._train_head(of_head)

    def _fit(self, store: ImageStore, images: Sequence[int], name: str) -> None:
        learner = self.make(LearnerImages(store), LearnOptions(cut="full", loss=self.loss))
        rng = generator(self.seed, "theta0", name)
        fitted(learner, TrainingSet(revealed(store, images), []), self.options.fit, rng, on_step=self.on_step)
        self.network.load_state_dict(learner.weights())

    def _streets(self) -> ImageStore:
        store, seed = self.store, integer(self.seed, "theta0", "streets") % 2**31
        variant = "cityscapes" if len(store.dataset.classes) == 19 else "camvid"
        streets = Streets(self.options.streets, size=store.size(0), seed=seed, variant=variant)
        if streets.classes != store.dataset.classes:
            raise RalsegError(
                f"theta0.streets: {store.dataset.name} has other classes than Streets; set theta0.streets=0"
            )
        return ImageStore(streets, streets.names, store.scale, self.cache)

    def _standardise(self, state: Sequence[int]) -> None:
        learner = self.make(LearnerImages(self.store), LearnOptions(cut="frozen", loss=self.loss))
        self.network.standardise(list(learner.lower_maps(state)))

    def _train_head(self, state: Sequence[int]) -> None:
        settings = LearnOptions(
            cut="frozen", loss=self.loss, steps=self.options.frozen_steps, averaging=0.98, learning_rate=3e-3
        )
        learner = self.make(LearnerImages(self.store), settings)
        everywhere = [(i, (0.5, 0.5)) for i in state]
        taught(learner, TrainingSet(revealed(self.store, state), everywhere), generator(self.seed, "theta0", "frozen"))
        self.network.load_state_dict(learner.weights())
