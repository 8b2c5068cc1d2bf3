"""A project: a folder of plain files with the images that people label, their classes, and what is known of them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ralseg.agents.acquisitions import FixedPolicy, parse
from ralseg.agents.query_policy import QueryPolicy, load_policy
from ralseg.agents.zoo import zoo_folder
from ralseg.annotation.query import LabelClass
from ralseg.configs import composed
from ralseg.envs.campaign import Campaign
from ralseg.envs.ledger import Measure
from ralseg.envs.options import GameOptions
from ralseg.envs.pool import Pool
from ralseg.envs.records import RecordsFile
from ralseg.envs.world import World
from ralseg.foundation import Count, RalsegError, Range, Settings, expanded, read_json, settings, write_json
from ralseg.segmentation.datasets import Dataset
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import FitOptions

FILE, RECORDS = "project.json", "records.jsonl"
FORMAT = 1


@dataclass(frozen=True)
class ProjectOptions(Settings):
    """The settings of a project that do not belong to its learner.

    Attributes:
        per_round: units of a round.
        held_out: share of them that is drawn at random and kept for measuring, 0 to 0.9.
        start_by: the acquisition before anything is trained.
        query_by: the acquisition afterwards, or a trained policy: `zoo:NAME`, `run:PATH` of a training.
        pool_per_image: how many units of each image a round looks at, drawn at random; None for all.
        budget: the most that may be paid, in `budget_measure`.
        budget_measure: see `GameOptions`.

    Raises:
        RalsegError: if a number is out of range, an acquisition is unknown, or a policy cannot choose here.
    """

    per_round: Count
    held_out: Annotated[float, Range(0, 0.9)]
    start_by: Any
    query_by: Any
    pool_per_image: Count | None
    budget: Annotated[float, Range(0, above=True, below=True)]
    budget_measure: Measure

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("start_by", "query_by"):
            if isinstance(policy := _policy(getattr(self, key)), QueryPolicy):
                self._check(key, policy)
            elif policy.acquisition.sees_truth:
                raise RalsegError(f"{key}={getattr(self, key)} reads labels that nobody has given yet; choose another")

    def policy(self, trained: bool) -> FixedPolicy | QueryPolicy:
        """What chooses the units of a round."""
        return _policy(self.query_by if trained else self.start_by)

    def _check(self, key: str, policy: QueryPolicy) -> None:
        """Refuse a trained policy that lacks what it observes."""
        name = getattr(self, key)
        if key == "start_by":
            raise RalsegError(f"start_by={name}: a trained policy needs a trained network; choose an acquisition")
        if not self.held_out:
            raise RalsegError(f"query_by={name} observes the held-out units; set held_out above 0")
        if "state_units" in policy.network.arguments or "features" not in policy.description.get("observation", ()):
            raise RalsegError(
                f"query_by={name} takes the state set of its own game alone; train it with agent=transferable "
                "features=transferable, or choose zoo:NAME"
            )

    def game(self, slated: bool) -> GameOptions:
        """These settings as those of a game.

        Args:
            slated: whether one unit of each of `per_round` slates is chosen, as trained policies do; otherwise all of
                the whole pool.
        """
        return GameOptions(
            slates=self.per_round,
            draw="clustered" if slated else "pool",
            pool_per_image=self.pool_per_image,
            offer_void=True,
            budget=self.budget,
            budget_measure=self.budget_measure,
        )


class Project:
    """A project that exists on disk; its images are read when they are first needed.

    The folder holds images/, classes.yaml, project.json (what `init` fixed), records.jsonl (what was asked and
    answered, append-only), a folder for each round in rounds/, and the trained network in learner/.

    Args:
        folder: the folder.

    Raises:
        RalsegError: if there is no project, or a file of it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / FILE).exists():
            raise RalsegError(f"{self.folder / FILE}: there is no project; make one with: ralseg-query init <folder>")
        found = read_json(self.folder / FILE)
        self.known_rounds: list[Any] = []
        """The `Round`s that were read already."""
        try:
            if found["format"] != FORMAT:
                raise RalsegError(f"{self.folder / FILE} is of format {found['format']}, this ralseg reads {FORMAT}")
            self.id, self.token, self.port = str(found["id"]), str(found["token"]), int(found["port"])
            self._classes, self._overrides = [str(name) for name in found["classes"]], list(found["overrides"])
        except (KeyError, TypeError, ValueError) as error:
            raise RalsegError(f"{self.folder / FILE} is damaged ({error!r}); restore it") from error

    @classmethod
    def init(cls, folder: str | Path, overrides: Sequence[str] = ()) -> "Project":
        """Make a project of a folder with images/ and classes.yaml.

        Args:
            folder: the folder.
            overrides: changes to `query_regions.yaml`, as on the command line.

        Raises:
            RalsegError: if the folder holds a project, or lacks images or classes, or a setting is wrong. Nothing is
                written then.
        """
        folder = Path(folder)
        if (folder / FILE).exists():
            raise RalsegError(f"{folder / FILE}: there is a project already; go on with: ralseg-query query {folder}")
        world = _world(folder, overrides)
        _options(world)
        write_json(
            folder / FILE,
            {
                "format": FORMAT,
                "id": secrets.token_hex(8),
                "classes": world.dataset.classes,
                "overrides": list(overrides),
                # They are fixed, so that a page that is open goes on when the server starts again.
                "port": 8765 + secrets.randbelow(1000),
                "token": secrets.token_urlsafe(16),
            },
        )
        return cls(folder)

    @cached_property
    def world(self) -> World:
        """Images, network and learner.

        Raises:
            RalsegError: if the classes are not those that the project began with.
        """
        world = _world(self.folder, self._overrides)
        if list(world.dataset.classes) != self._classes:
            raise RalsegError(
                f"{self.folder / 'classes.yaml'}: the classes are no longer {', '.join(self._classes)}, and labels "
                "were given with those; restore the list, or begin another project"
            )
        return world

    @property
    def dataset(self) -> Dataset:
        """The images; none of them has a label of its own."""
        return self.world.dataset

    @cached_property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes with the colours of classes.yaml, or chosen ones."""
        named = zip(self.dataset.classes, self.dataset.colors.tolist(), strict=True)
        return tuple(LabelClass(name, (red, green, blue)) for name, (red, green, blue) in named)

    @cached_property
    def options(self) -> ProjectOptions:
        """The settings of the loop."""
        return _options(self.world)

    @property
    def fit(self) -> FitOptions:
        """The settings of a training."""
        return settings(FitOptions, self.world.config["fit"], "fit")

    @property
    def seed(self) -> int:
        """The root seed of all draws."""
        return self.world.config["seed"]

    @cached_property
    def campaign(self) -> Campaign:
        """Pool, labels and ledger as the records left them; what changes is recorded at once.

        Raises:
            RalsegError: if the records are damaged or belong to other images.
        """
        store, file = self.world.store, RecordsFile(self.folder / RECORDS)
        pool = Pool(store, range(len(store.names)), self.dataset.unit_size)
        campaign = Campaign(pool, lambda: PartialLabels(len(self.dataset.classes)), outlines=True)
        records = file.read()
        for record in records:
            campaign.replay(record)
        campaign.on_record = file.append
        if not records:
            campaign.begin(self.seed)
        return campaign

    def image(self, name: str) -> np.ndarray:
        """An image at its own size, uint8 (height, width, 3) RGB."""
        return self.dataset.load(name)[0]


def _policy(entry: Any) -> FixedPolicy | QueryPolicy:
    kind, _, place = entry.partition(":") if isinstance(entry, str) else ("", "", "")
    if kind == "zoo":
        return load_policy(zoo_folder(place))
    if kind == "run":
        return load_policy(expanded(place))
    return FixedPolicy(parse(entry))


def _world(folder: Path, overrides: Sequence[str]) -> World:
    own = [override for override in overrides if override.split("=")[0] in ("dataset", "dataset.root", "protocol")]
    if own:
        raise RalsegError(f"{own[0]}: the images of a project are those in its folder; leave it out")
    return World(composed("query_regions", [f"dataset.root={folder}", *overrides]))


def _options(world: World) -> ProjectOptions:
    keys = ProjectOptions.__dataclass_fields__
    options = settings(ProjectOptions, {key: world.config[key] for key in keys}, "")
    settings(FitOptions, world.config["fit"], "fit")
    for key in ("start_by", "query_by"):
        if options.policy(key == "query_by").dropout and not world.config["network"].get("dropout", 0):
            raise RalsegError(
                f"{key}={getattr(options, key)} needs a network with dropout; set e.g. network.dropout=0.1"
            )
    return options
