"""The next round: which units people should label, drawn at random for measuring or chosen by an acquisition."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ralseg.agents.acquisitions import FixedPolicy
from ralseg.agents.query_policy import QueryPolicy
from ralseg.annotation.learned import Networks, Training, class_map
from ralseg.annotation.observing import ProjectObserver
from ralseg.annotation.project import Project
from ralseg.annotation.query import Query
from ralseg.annotation.rounds import Round, open_units, round_folder, rounds
from ralseg.envs.offer import chosen_units, draw_offer
from ralseg.envs.reader import PoolReader
from ralseg.envs.records import Unit
from ralseg.envs.true_counts import TrueCounts
from ralseg.features.prediction import Prediction
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.learners import Learner


class NothingLeft(RalsegError):
    """There is no next round: the budget is spent, or all is labelled."""


def ask(project: Project, on_images: Callable[[int, int], None] | None = None) -> Round:
    """The round that waits for answers, or a new one.

    Args:
        project: the project; whoever calls this owns its folder.
        on_images: called with (images, of how many) while the network looks at them, which may take minutes.

    Raises:
        NothingLeft: if the budget is spent or nothing is left to label.
    """
    every = rounds(project)
    _forget_half_asked(project, every)
    if every and open_units(project, every[-1]):
        return every[-1]
    for each in every:
        # Who has skipped a unit does not want to see it again.
        skipped = [place for place, state in enumerate(each.work.states) if state == "skipped"]
        _withdraw(project, each, skipped)
    networks = Networks(project)
    training = networks.trainings[-1] if networks.trainings else None
    learner = networks.learner(training)
    number = len(every) + 1
    drawn = _at_random(project, number)
    chosen, by = _chosen(networks, training, _Watched(learner, on_images), number, drawn)
    units, held_out = _mixed(project, number, drawn, chosen)
    if not len(units):
        raise NothingLeft(f"{project.folder}: nothing is left to ask for: the budget is spent, or all is labelled")
    named = project.campaign.pool.records(units)
    prelabels = _predicted(project, named, learner) if training else [None] * len(named)
    query = _query(project, number, named, prelabels)
    asked = Round(round_folder(project, number), query, held_out, by, _changed(networks, query))
    project.campaign.ask(units)
    asked.write()
    return asked


class _Watched:
    """A learner that tells how many images it has predicted."""

    def __init__(self, learner: Learner, on_images: Callable[[int, int], None] | None) -> None:
        self._learner, self._on_images = learner, on_images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)

    def predict(self, images: Sequence[int], *args: Any, **kwargs: Any) -> Iterator[Prediction]:
        """See `Learner.predict`."""
        done = 0
        for prediction in self._learner.predict(images, *args, **kwargs):
            yield prediction
            done += len(prediction.images)
            if self._on_images is not None:
                self._on_images(done, len(images))


def _forget_half_asked(project: Project, every: list[Round]) -> None:
    """Withdraw units that were asked for by a process that was killed before it had written their round."""
    campaign = project.campaign
    known = campaign.pool.find([unit for each in every for unit in each.query.units])
    pending = np.array(campaign.pending, np.int64)
    if len(lost := pending[~np.isin(pending, known)]):
        campaign.withdraw(lost)


def _withdraw(project: Project, each: Round, places: list[int]) -> None:
    campaign = project.campaign
    units = campaign.pool.find([each.query.units[place] for place in places])
    pending = units[np.isin(units, campaign.pending)]
    if len(pending):
        campaign.withdraw(pending)
    campaign.pool.exclude(units)


def _at_random(project: Project, number: int) -> np.ndarray:
    """Units for measuring, uniform over all that are open."""
    options, pool = project.options, project.campaign.pool
    left = project.campaign.left(options.budget, options.budget_measure)
    open_ = np.flatnonzero(pool.open(slice(None)))
    order = generator(project.seed, "held out", number).permutation(open_)
    wanted = order[: round(options.held_out * options.per_round)]
    prices = project.campaign.ledger.prices(pool.areas(wanted), options.budget_measure)
    return wanted[np.cumsum(prices) <= left]


def _chosen(
    networks: Networks, training: Training | None, learner: Any, number: int, drawn: np.ndarray
) -> tuple[np.ndarray, str]:
    """Units that the policy chooses besides those that were drawn, and what chose them."""
    project = networks.project
    campaign, options = project.campaign, project.options
    if len(drawn) == options.per_round:
        return np.empty(0, np.int64), ""
    policy, by = _policy(networks, training)
    game = options.game(slated=isinstance(policy, QueryPolicy))
    paid = campaign.ledger.prices(campaign.pool.areas(drawn), game.budget_measure).sum()
    left = max(1e-9, game.budget - _as_budget(project, int(paid)))
    game = replace(game, slates=options.per_round - len(drawn), budget=left)
    offer = draw_offer(campaign, game, project.seed, number)
    offer = replace(offer, mask=offer.mask & ~np.isin(offer.units, drawn))
    if offer.most is not None:
        offer = replace(offer, most=min(offer.most, int(offer.mask.sum())))
    if not offer.mask.any():
        return np.empty(0, np.int64), ""
    observer = None
    if isinstance(policy, QueryPolicy):
        assert training is not None
        observer = ProjectObserver(networks, training, learner, policy.description["observation"]["features"])
    nothing_true = TrueCounts(campaign.pool, len(project.classes))
    reader = PoolReader(learner, campaign.pool, (), nothing_true, project.seed, number, observer, {})
    reducers = policy.needs if observer is None else tuple(observer.reducers)
    view = CandidatesView(reader, offer, campaign.class_counts, reducers)
    choice = policy.select(view, generator(project.seed, "choice", number))
    return chosen_units(offer, choice, game), by


def _policy(networks: Networks, training: Training | None) -> tuple[FixedPolicy | QueryPolicy, str]:
    """What chooses, and its name."""
    options = networks.project.options
    policy = options.policy(training is not None)
    if isinstance(policy, FixedPolicy):
        return policy, policy.acquisition.name
    if networks.held_out:
        return policy, str(options.query_by)
    start = options.policy(False)
    assert isinstance(start, FixedPolicy)
    return start, f"{start.acquisition.name}, since {options.query_by} needs a held-out unit with a label,"


def _as_budget(project: Project, paid: int) -> float:
    share = project.options.budget_measure == "share"
    return paid / project.campaign.ledger.total if share else paid


def _mixed(project: Project, number: int, drawn: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, tuple[bool, ...]]:
    """Both kinds in one order: the chosen ones by their rank, the drawn ones anywhere among them."""
    places = generator(project.seed, "order", number).choice(len(drawn) + len(chosen), len(drawn), replace=False)
    held_out = np.zeros(len(drawn) + len(chosen), bool)
    held_out[places] = True
    units = np.empty(len(held_out), np.int64)
    units[held_out], units[~held_out] = drawn, chosen
    return units, tuple(held_out.tolist())


def _query(project: Project, number: int, units: list[Unit], prelabels: list[np.ndarray] | list[None]) -> Query:
    store = project.world.store
    sizes = {name: store.size(store.index(name)) for name, *_ in units}
    return Query(project.id, number, project.classes, sizes, tuple(units), tuple(prelabels))


def _changed(networks: Networks, query: Query) -> float | None:
    """The share of the pixels of units in which the network before predicts another class than their prelabel."""
    if len(networks.trainings) < 2:
        return None
    before = _predicted(networks.project, query.units, networks.learner(networks.trainings[-2]))
    other = [old != new for old, new in zip(before, query.prelabels, strict=True)]
    return sum(int(each.sum()) for each in other) / sum(each.size for each in other)


def _predicted(project: Project, units: Sequence[Unit], network: Learner) -> list[np.ndarray]:
    """The predicted class of each pixel of units, (height, width) uint8 each."""
    maps = {
        name: class_map(network, project.world.store.index(name)) for name in dict.fromkeys(unit[0] for unit in units)
    }
    return [maps[name][y : y + height, x : x + width].copy() for name, y, x, height, width in units]
