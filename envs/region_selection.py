"""`ralseg/RegionSelection-v0`: the annotation game as a Gymnasium environment."""

import copy
import pickle
from typing import Any, NoReturn, Self

import gymnasium
import numpy as np
from gymnasium import spaces

from ralseg.envs.game import Game
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError


class RegionSelectionEnv(gymnasium.Env):
    """Choose, in each of K slates, the unit whose label a segmentation network learns most from.

    ## Description
    A segmentation network starts from theta_0, trained on few images. Each step offers K slates of N unlabelled units
    of the pool; the agent chooses one from each slate, an oracle labels them, the network is trained on them, and the
    reward is the gain in mean IoU on a reward set. After RALIS (Casanova et al., ICLR 2020); `docs/game.md` fixes what
    is not published there.

    ## Action Space
    `MultiDiscrete([N] * K)`: one candidate of each slate. A masked choice buys nothing, costs nothing and is counted.

    ## Observation Space
    A `Dict` with these entries:

    | key | shape | dtype | min | max | meaning |
    |---|---|---|---|---|---|
    | `state` | (S, F) | float32 | per feature | per feature | a row per unit of the state set D_S |
    | `candidates` | (K, N, F') | float32 | per feature | per feature | a row per candidate, zeros where masked |
    | `mask` | (K, N) | int8 | 0 | 1 | 1 where a candidate may be chosen |

    The game's `ObservationSpec` determines F, F' and the ranges (shares lie in [0, 1], entropies in [0, ln C];
    embeddings are unbounded).

    ## Rewards
    100 x the gain in mIoU on D_R in this step; the first gain is measured from theta_0. `game.reward_share` below 1
    measures a fixed part of D_R, `game.reward_set=mixed` also D_T, and `game.reward_of=worst` only the clip with the
    lowest mIoU.

    ## Starting State
    No unit of the pool is labelled and the network is at theta_0. `reset(seed=s)` gives the same episode, bit for bit,
    in every process; without a seed, episodes continue from the last seed. `reset(options={"records": records})`
    resumes a game at the end of its records (`game.campaign.records`), bit for bit like the uninterrupted game.

    ## Episode End
    The episode terminates when the budget is spent or no candidate is left. It is never truncated; use a `TimeLimit`
    wrapper for that.

    ## Info
    `action_mask` (tuple of K int8 arrays, for `action_space.sample(mask=...)`), `miou` (percent, on the images of the
    reward), `refused`, `ledger` (units, pixels, share, clicks, images); after a step also `loss` and `class_shares`
    (C,) of the bought units. A game with credit adds `candidate_credit` and `credit` (K,) of the chosen units, a game
    with a reference adds `candidate_reference`: (K, N) float32 for the candidates that the action chose from, 0 where
    masked. They read true labels and serve training only; see `ralseg.envs.credit`.

    ## Arguments
    `game`: a `ralseg.envs.Game`. `gymnasium.make("ralseg:ralseg/RegionSelection-v0", overrides=["game=frozen", ...])`
    builds one from the configuration of `train_agent.py`; see `ralseg.envs.make_env`.

    ## Vectorisation
    Sync, async and tianshou's vector envs take `ralseg.envs.EnvFactory`, which can be pickled; start processes with
    spawn. An env itself can be copied with `copy.deepcopy`, but not pickled.

    ## Version History
    - v0: first version.
    """

    metadata = {"render_modes": []}

    def __init__(self, game: Game) -> None:
        if game.options.draw == "pool":
            raise RalsegError("game.draw=pool is for acquisitions; an env offers slates, set game.draw=clustered")
        if game.spec is None:
            raise RalsegError("an env makes observations and this game has no spec of one; set game.spec")
        self.game = game
        self._view: CandidatesView | None = None
        spec, options = game.spec, game.options
        shape = (options.slates, options.candidates)
        low, high = spec.state_bounds
        state = spaces.Box(np.tile(low, (game.state_units, 1)), np.tile(high, (game.state_units, 1)), dtype=np.float32)
        low, high = spec.candidate_bounds
        candidates = spaces.Box(np.tile(low, (*shape, 1)), np.tile(high, (*shape, 1)), dtype=np.float32)
        mask = spaces.Box(0, 1, shape, np.int8)
        self.observation_space = spaces.Dict({"state": state, "candidates": candidates, "mask": mask})
        self.action_space = spaces.MultiDiscrete([options.candidates] * options.slates)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode, or resume one at the end of its records; see the class."""
        super().reset(seed=seed)
        records = (options or {}).get("records")
        if records is None:
            self.game.reset(int(self.np_random.integers(2**62)))
            self._miou = self.game.first_miou()
        else:
            self.game.restore(records)
            self._miou = self.game.evaluate_reward()
        self._view, observation = self._look()
        return observation, self._info(self._view, 0)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Buy, learn, evaluate; see the class.

        Raises:
            RalsegError: if the episode is over or the action is not in the action space.
        """
        if self._view is None:
            raise RalsegError("no episode has begun; call reset first")
        if self.game.over:
            raise RalsegError("the episode is over; call reset")
        action = np.asarray(action)
        if not np.issubdtype(action.dtype, np.integer) or not self.action_space.contains(action.astype(np.int64)):
            slates, size = self.game.options.slates, self.game.options.candidates
            allowed = f"{slates} integers from 0 to {size - 1}"
            raise RalsegError(f"action {action.tolist()} is not in the action space; it is {allowed}")
        hindsight = self.game.credit(self._view)
        info = {f"candidate_{name}": part for name, part in hindsight.items()}
        if "credit" in hindsight:
            info["credit"] = hindsight["credit"][np.arange(len(action)), action]
        turn = self.game.step(action)
        miou = self.game.evaluate_reward()
        reward, self._miou = miou - self._miou, miou
        bought = turn.class_counts / max(turn.class_counts.sum(), 1)
        self._view, observation = self._look()
        info |= self._info(self._view, turn.refused) | {
            "loss": float(turn.loss),
            "class_shares": bought.astype(np.float32),
        }
        return observation, float(reward), self.game.over, False, info

    def __getstate__(self) -> NoReturn:
        raise pickle.PicklingError(
            "an env cannot be pickled, as it holds a network and a data set; pickle the ralseg.envs.EnvFactory that "
            "makes it and game.campaign.records, and go on with reset(options={'records': records})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def _look(self) -> tuple[CandidatesView, dict[str, np.ndarray]]:
        view = self.game.view(self.game.credit_reducers)
        return view, {key: array.copy() for key, array in view.observation.items()}

    def _info(self, view: CandidatesView, refused: int) -> dict[str, Any]:
        return {
            "action_mask": tuple(view.offer.mask.astype(np.int8)),
            "miou": self._miou,
            "refused": refused,
            "ledger": self.game.ledger.to_dict(),
        }
