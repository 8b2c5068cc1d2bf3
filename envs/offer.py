"""The offer of a step: the units that the budget allows, and the units that a choice among them asks for."""

import numpy as np

from ralseg.envs.campaign import Campaign
from ralseg.envs.candidates import draw_candidates
from ralseg.envs.options import GameOptions
from ralseg.features.view import Offer
from ralseg.foundation import RalsegError


def draw_offer(campaign: Campaign, options: GameOptions, seed: int, turn: int) -> Offer:
    """Draw the candidates of a turn, and mask those that the budget does not pay.

    Args:
        campaign: knows which units are open and what is left of the budget.
        options: see `GameOptions`.
        seed: the seed of the episode.
        turn: the number of the step in the episode.
    """
    drawn = options.slates, options.candidates, options.draw, seed, turn, options.pool_per_image, options.redraw
    units = draw_candidates(campaign.pool, *drawn)
    left = campaign.left(options.budget, options.budget_measure)
    mask = units >= 0
    prices = campaign.ledger.prices(campaign.pool.areas(units[mask]), options.budget_measure)
    can_pay = max(0, left // int(prices.min())) if len(prices) else 0
    # A unit above the remaining budget is never offered: a policy that keeps choosing it would never end its game.
    mask[mask] = prices <= left
    mask[np.cumsum(mask.any(axis=1)) > can_pay] = False
    most = min(options.slates, can_pay, int(mask.sum())) if options.draw == "pool" else None
    return Offer(units, mask, most)


def chosen_units(offer: Offer, choice: np.ndarray, options: GameOptions) -> np.ndarray:
    """The units that a choice asks for, (n,) int64 flat numbers, each once and in the order of the choice.

    Args:
        offer: the offer of the turn.
        choice: (K,) integers, one index into each slate, or all into the one slate of a whole pool; -1, a masked index
            or a repeated one asks for nothing.
        options: give the number of slates.

    Raises:
        RalsegError: if the choice has a wrong shape or an index is out of range.
    """
    choice, whole, slates = np.asarray(choice), offer.most is not None, options.slates
    fits = choice.ndim == 1 and (len(choice) <= slates if whole else len(choice) == slates)
    if not fits or not np.issubdtype(choice.dtype, np.integer):
        what = f"at most {slates} integers" if whole else f"{slates} integers, one for each slate"
        raise RalsegError(f"a choice is {what}; got {choice.dtype} {choice.shape}")
    size = offer.units.shape[1]
    if len(choice) and (choice.min() < -1 or choice.max() >= size):
        outside = choice.min() if choice.min() < -1 else choice.max()
        raise RalsegError(f"choice {outside} is out of range -1 to {size - 1}")
    slate = np.zeros(len(choice), np.int64) if whole else np.arange(slates)
    slate, choice = slate[choice >= 0], choice[choice >= 0]
    units = offer.units[slate, choice][offer.mask[slate, choice]]
    return units[np.sort(np.unique(units, return_index=True)[1])]
