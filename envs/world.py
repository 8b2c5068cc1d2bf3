"""Builds a game from a composed configuration: the one place where all parts are put together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch

from ralseg.envs.game import Game
from ralseg.envs.hindsight import Hindsight
from ralseg.envs.observer import observed_units
from ralseg.envs.options import GameOptions
from ralseg.envs.parts import COMMON, CommonSettings, learner_maker, made, make_network, make_source
from ralseg.envs.passes import check_maps, check_pass
from ralseg.envs.pool import Pool
from ralseg.envs.reading import read_units
from ralseg.envs.reward_subset import stratified_subset
from ralseg.features import ObservationSpec, PrincipalComponents, spec_from_config
from ralseg.features.prediction import Noise
from ralseg.features.unit_features import feature_reducers
from ralseg.foundation import RalsegError, file_digests, generator, settings
from ralseg.segmentation.datasets import SOURCE_DOMAIN, Dataset, InTaxonomy
from ralseg.segmentation.devices import compute_dtype
from ralseg.segmentation.labels import FullLabels
from ralseg.segmentation.learners import Learner, LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import Cut, SegmentationNetwork
from ralseg.segmentation.pretraining import Theta0Options, theta0
from ralseg.segmentation.protocols import splits_from_config
from ralseg.segmentation.sources import Source, check_noise
from ralseg.segmentation.splits import Splits
from ralseg.segmentation.store import ImageStore, cache_folder

Role = Literal["train", "compare"]
SUPERVISED = {"_target_": "ralseg.segmentation.learners.SupervisedLearner"}
"""The learner of configurations that were recorded before learners could be chosen."""


@dataclass(frozen=True)
class World:
    """Everything that the games of one configuration share.

    Each part is made once, when it is first used. `check` makes the cheap ones, so that a bad value is refused before
    anything is trained or written.

    Args:
        config: a composed configuration, plain values.
        data: `ImageStore.digest` of the only images and labels that will do, those that a run was begun with; None
            takes any.
    """

    config: Mapping[str, Any]
    data: str | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, in the classes of the taxonomy if there is one."""
        dataset = made(self.config["dataset"], "dataset")
        # The recorded configurations of policies that were trained before taxonomies existed have no such key.
        taxonomy = self.config.get("taxonomy", {}).get("classes")
        return dataset if taxonomy is None else InTaxonomy(dataset, taxonomy)

    @cached_property
    def store(self) -> ImageStore:
        """All images of the data set, decoded once.

        Raises:
            RalsegError: if a file is bad, or they are not those of `data`.
        """
        store = ImageStore(self.dataset, self.dataset.names, self.config["input_scale"])
        if self.data not in (None, store.digest):
            raise RalsegError(
                f"{self.dataset.name}: images or labels changed while this run read them; run the same command again "
                "when they change no more"
            )
        return store

    @cached_property
    def splits(self) -> Splits:
        """The role of each image."""
        contents = {name: self.store.picture(i) for i, name in enumerate(self.store.names)}
        return splits_from_config(self.config["protocol"], self.dataset, self.store.class_counts(), contents)

    @property
    def notes(self) -> list[str]:
        """Remarks on the data and the splits that a user should read, without a full stop."""
        return [*self.dataset.notes, *self.splits.notes]

    def images(self, role: str) -> list[int]:
        """Store indices of the images that have a role, e.g. "train"."""
        return [self.store.index(name) for name in getattr(self.splits, role)]

    def labelled(self, role: str) -> list[int]:
        """Store indices of the images of a role that have a labelled pixel: those whose units can be answered for."""
        held = self.store.class_counts().sum(1) > 0
        return [image for image in self.images(role) if held[image]]

    @cached_property
    def rewarded(self) -> list[int]:
        """Store indices of the images that reward and credit are measured on: `game.reward_share` of the reward set."""
        images, share = self.images("reward"), self.game_options.reward_share
        if self.game_options.reward_set == "mixed":
            images = [*images, *self.images("train")]
        if share == 1:
            return images
        groups = [self.dataset.groups[self.store.names[image]] for image in images]
        rng = generator(self.config["seed"], "reward")
        return [images[i] for i in stratified_subset(groups, self.store.class_counts()[images], share, rng)]

    @cached_property
    def game_options(self) -> GameOptions:
        """The options of the game."""
        game = {key: value for key, value in self.config["game"].items() if key not in ("unit", "learn")}
        return settings(GameOptions, game, "game")

    @cached_property
    def learn_options(self) -> LearnOptions:
        """The options of the learner's training in each turn."""
        learn = self.config["game"]["learn"]
        learn = {**learn, "loss": self.config["loss"]} if isinstance(learn, Mapping) else learn
        return settings(LearnOptions, learn, "game.learn")

    @cached_property
    def theta0_options(self) -> Theta0Options:
        """The options of the training of theta_0."""
        return settings(Theta0Options, self.config["theta0"], "theta0")

    @property
    def unit(self) -> tuple[int, int] | str:
        """The unit of the pool; `region` in the configuration stands for the unit of the data set."""
        unit = self.config["game"]["unit"]
        return self.dataset.unit_size if unit == "region" else unit

    @cached_property
    def spec(self) -> ObservationSpec:
        """What an observation holds; its principal components are not fitted yet.

        Raises:
            RalsegError: in a comparison, where each trained policy brings the features that it was trained with.
        """
        if "features" not in self.config:
            raise RalsegError("this configuration has no group `features`; compose that of train_agent")
        return spec_from_config(self.config["features"], len(self.dataset.classes))

    def network(self) -> SegmentationNetwork:
        """An untrained network."""
        return make_network(self.config["network"], len(self.dataset.classes), self.source)

    @cached_property
    def source(self) -> Source | None:
        """The frozen feature source that the network reads; None for the network's own stages below the cut."""
        # Configurations that were recorded before sources existed have no such key.
        return make_source(self.config.get("source") or {})

    def theta0(self, role: Role = "train", on_step: Callable[[int, int], None] | None = None) -> SegmentationNetwork:
        """A network at the theta_0 of a role's games, trained or cached; both roles share it by default."""
        return self._trained("train", self.theta0_options, self.learn_options.cut, on_step, role == "compare")

    def _trained(
        self,
        pool: Role,
        options: Theta0Options,
        cut: Cut,
        on_step: Callable[[int, int], None] | None,
        comparing: bool = False,
    ) -> SegmentationNetwork:
        return theta0(
            self.network,
            self.store,
            {
                "state": self.images("state"),
                "train": self.images(pool),
                SOURCE_DOMAIN: self.labelled(SOURCE_DOMAIN),
            },
            options,
            loss=self.config["loss"],
            cut=cut,
            comparing=comparing,
            seed=self.config["seed"],
            # Weights that come from a file are known by their contents, since another file may get its name.
            description=self.config["network"] | file_digests(self.config["network"]),
            cache=cache_folder(),
            device=self.config["device"],
            precision=self.config["precision"],
            source=self.source,
            on_step=on_step,
        )

    def informed(self, role: Role = "train", on_step: Callable[[int, int], None] | None = None) -> SupervisedLearner:
        """A learner trained on all labels of D_S and of a role's pool, in the way theta_0 is trained on those of D_S.

        It is trained for `game.informed_steps` or read from the cache. It sees true labels, so it serves only the
        references that a policy is trained with.
        """
        steps, fit = self.game_options.informed_steps, self.theta0_options.fit
        taught = {"fit": replace(fit, steps=steps, max_steps=max(steps, fit.max_steps)), "use_train": "yes"}
        options = replace(self.theta0_options, streets=0, file=None, use_state=True, **taught)
        network = self._trained(role, options, "full", on_step)
        return SupervisedLearner(*self._given(network, LearnOptions(cut="full", loss=self.config["loss"])))

    def learner(self, role: Role = "train", options: LearnOptions | None = None) -> Learner:
        """A learner at theta_0, by default with the options of the game."""
        return self.learner_of(self.theta0(role), options or self.learn_options)

    def learner_of(self, network: SegmentationNetwork, options: LearnOptions) -> Learner:
        """A learner whose theta_0 is a given network."""
        return self._make_learner(*self._given(network, options))

    def _given(self, network: SegmentationNetwork, options: LearnOptions) -> tuple[Any, ...]:
        """The arguments that every learner takes."""
        where = (self.config[key] for key in ("device", "precision", "compile"))
        return network, LearnerImages(self.store), options, *where, self.source

    @cached_property
    def _make_learner(self) -> Callable[..., Learner]:
        # Configurations that were recorded before learners could be chosen have no such key.
        return learner_maker(self.config.get("learner") or SUPERVISED, arguments=7)

    def check(self, observed: bool = True) -> None:
        """Check the configuration by making every part that is cheap to make.

        Args:
            observed: whether observations of `features` will be needed.

        Raises:
            RalsegError: for the first error found.
        """
        common = settings(CommonSettings, {key: self.config[key] for key in COMMON}, "")
        compute_dtype(common.precision, torch.device(common.device))
        _ = self.game_options, self.learn_options, self.theta0_options, self._make_learner
        network = self.network()
        if self.source is not None and self.learn_options.cut != "frozen":
            raise RalsegError("a feature source is frozen as a whole; set game=frozen with it")
        if self.source is None:
            self.theta0_options.check(network, bool(self.splits.source_domain))
            check_pass(network, self.config["network"], self.store.input_size(0))
        else:
            check_maps(self.source, self.config["source"], self.store.image(0))
        if observed and self.spec.holds_embedding and self.spec.embedding_width > network.embedding_width:
            raise RalsegError(
                f"features.components={self.spec.embedding_width} is above the width of the network's embedding; set "
                f"{network.embedding_width} or less"
            )
        if observed and "disagreement" in self.spec.needs:
            self.check_noises([self.spec.noise])
            if self.spec.noise.kind == "dropout" and not self.config["network"].get("dropout", 0):
                raise RalsegError("features.noise.kind=dropout needs a network with dropout; set network.dropout=0.1")
        _ = self.splits
        Pool(self.store, self.images("state"), self.unit)
        if self.theta0_options.file is not None:
            self.theta0()

    def check_noises(self, noises: Iterable[Noise | None]) -> None:
        """Refuse noise that the network and its feature source cannot make.

        Raises:
            RalsegError: for such a noise; the message names the kinds that exist.
        """
        for noise in noises:
            if noise is not None:
                check_noise(noise.kind, self.source.variants if self.source else ())

    def game(self, role: Role, credit: bool = False, reference: bool = False, observed: bool = True) -> Game:
        """A game on D_T (`train`) or D_V (`compare`).

        Args:
            role: decides which of the two pools.
            credit: whether candidates get gradient credit, which only the training of a policy may use.
            reference: whether candidates get the score of `game.reference`, which only the training may use.
            observed: whether observations of `features` will be needed, and so fitted components.
        """
        learner = self.learner(role)
        pool = Pool(self.store, self.images(role), self.unit, self.game_options.offer_void)
        spec = self.fitted_spec(learner, pool, self.spec) if observed else None
        known = [*self.images("reward"), *self.images("train")]
        asked = {"credit": credit, "reference": reference, "informed": lambda: self.informed(role), "known": known}
        hindsight = Hindsight(learner, self.store, self.rewarded, self.game_options, self.config["loss"], **asked)
        given = self.images("state"), self.rewarded, spec, self.game_options.on(len(pool.images))
        labelled = FullLabels(self.store, self.labelled(SOURCE_DOMAIN)) if self.splits.source_domain else None
        also = {"rehearse": self.learn_options.rehearse, "source_domain": labelled}
        return Game(learner, pool, *given, hindsight=hindsight, **also)

    def fitted_spec(self, learner: Learner, pool: Pool, spec: ObservationSpec) -> ObservationSpec:
        """`spec` with principal components fitted on D_S and D_T at the learner's present weights (theta_0)."""
        if "embedding" not in spec.needs:
            return spec
        images = [*self.images("state"), *self.images("train")]
        return spec.with_components(
            fit_components(learner, pool, images, spec.embedding_width, fewer=not spec.holds_embedding)
        )


def fit_components(
    learner: Learner, pool: Pool, images: Sequence[int], width: int, fewer: bool = False
) -> PrincipalComponents:
    """Principal components of the units' mean embeddings at the learner's present weights (theta_0)."""
    every = {image: observed_units(pool, image) for image in images}
    rows = read_units(learner, pool, every, feature_reducers({"embedding"}))["embedding"]
    return PrincipalComponents.fit(rows, width, fewer)
