"""The settings of the agents, each with its range."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ralseg.features import PRIORS
from ralseg.foundation import RalsegError, settings


@dataclass(frozen=True)
class Signal:
    """Weights of what a choice is rewarded with: reward = sum of weight x part. At least one is not 0."""

    reward: float = 0.0
    """of the env's reward: 100 x the gain in mIoU on D_R, shared by the K choices (the paper's only signal)"""
    credit: float = 0.0
    """of `info['candidate_credit']`, standardised within the step over the open candidates (mean 0, sd 1)"""
    reference: float = 1.0
    """of `info['candidate_reference']`, the score of a reference that sees true labels, standardised likewise"""


@dataclass(frozen=True)
class BatchDQNOptions:
    """Settings of the batch-mode double DQN. A value out of range raises RalsegError naming the range."""

    algorithm: str = "batch_dqn"
    """`batch_dqn`"""
    network: str = "compact"
    """`compact` (the default), `published` (Figure B.1 of the RALIS paper), or `tokens` (the same weights for all
    classes: a policy for any data set, of features=transferable)"""
    hidden: int = 64
    """width of the compact network and of that of tokens, 4 to 256"""
    context: bool = True
    """the same: whether it sees the mean candidate of the slate"""
    prior: float = 0.0
    """the same: weight of a candidate's uncertainty (standardised within the step), which is added to what is
    learned: part of the signal and, being known, of the Q-value. 0 or more"""
    prior_of: str = "margin"
    """what that uncertainty is: `margin` (one less the mean margin) or `disagreement` (mutual information under noise
    of the features, as DALD), which the features must hold"""
    members: int = 1
    """compact network: how many learn side by side, each from its own first weights; Q is their mean. 1 to 50"""
    gate_features: int = 64
    """published network: how many numbers at a candidate's end feed the gate (its KL histograms)"""
    signal: Signal = field(default_factory=Signal)
    """what a choice is rewarded with"""
    learn_from: str = "all"
    """`chosen`: the K sub-transitions of a step, as published. `all`: every open candidate of the step with its own
    credit and reference; see `BatchModeDQN` for the counterfactual approximation that this makes"""
    gamma: float = 0.8
    """discount of the future, 0 to 1; 0 is plain regression of the signal, without target network"""
    gamma_from: float = 0.0
    """share of the episodes before which gamma is 0: a warm start by regression, then Q-learning. 0 to 1"""
    n_step: int = 1
    """env steps of signal before the bootstrap, 1 to 50"""
    double: str = "textbook"
    """who selects and who evaluates the next choice: `textbook` (online selects, target evaluates), `paper` (eq. 3 of
    RALIS: target selects, online evaluates) or `none` (target does both)"""
    loss: str = "huber"
    """`huber` (threshold 1) or `squared` (the paper)"""
    optimiser: str = "adam"
    """`adam` or `sgd` (the paper)"""
    learning_rate: float = 5e-4
    """above 0, at most 1"""
    learning_rate_floor: float = 1.0
    """share of the learning rate that is left at the end, on a cosine; 1 is constant, 0.01 the least"""
    momentum: float = 0.9
    """of sgd, 0 to below 1"""
    weight_decay: float = 0.0
    """0 to 1"""
    gradient_clip: float = 10.0
    """largest gradient norm, above 0"""
    batch_size: int = 16
    """env steps in an update (each brings its K sub-transitions), 2 to 4096"""
    updates_per_step: int = 4
    """gradient updates for every env step, 1 to 100"""
    warm_up: int = 40
    """env steps before the first update; the compact network's inputs are scaled to them. At least the batch size"""
    target_update: int = 100
    """updates between copies of the online network into the target network, 1 or more"""
    epsilon_start: float = 1.0
    """share of random choices at the start, drawn for each slate on its own, 0 to 1"""
    epsilon_end: float = 0.05
    """share of random choices after `exploration_share` of the training, 0 to 1"""
    exploration_share: float = 0.35
    """share of the episodes over which epsilon falls linearly, above 0, at most 1"""
    replay_size: int = 4000
    """env steps kept, over all streams; 4000 is more than a usual training plays"""
    replay_half: bool = True
    """whether observations are kept as float16 (half the memory and disk; features must stay below 65504)"""
    prioritised: bool = False
    """prioritised replay (Schaul et al., 2016), by the mean absolute error of a step's sub-transitions"""
    priority_alpha: float = 0.6
    """exponent of the priorities, above 0, at most 1"""
    priority_beta: float = 0.4
    """exponent of the importance weights, 0 to 1"""

    def __post_init__(self) -> None:
        _check(self, _CHOICES, _RANGES)
        if self.warm_up < self.batch_size:
            raise RalsegError(f"warm_up is {self.warm_up}; it must be at least batch_size, {self.batch_size}")
        if self.replay_size < self.warm_up:
            raise RalsegError(f"replay_size is {self.replay_size}; it must be at least warm_up, {self.warm_up}")
        if self.network == "published" and self.prior:
            raise RalsegError("network=published knows no prior; set prior=0")
        if self.network != "compact" and self.members > 1:
            raise RalsegError(f"members belong to network=compact; set members=1 for network={self.network}")
        if self.gamma_from and not self.gamma:
            raise RalsegError("gamma_from is the share of the training from which gamma holds; set gamma above 0, too")
        if not any(asdict(self.signal).values()):
            raise RalsegError("signal is 0 throughout; give reward, credit or reference a weight")
        if self.learn_from == "all" and not (self.signal.credit or self.signal.reference):
            raise RalsegError(
                "learn_from=all with the shared reward alone tells no candidate from another; "
                "use learn_from=chosen, or give signal.credit or signal.reference a weight"
            )


_CHOICES = {
    "algorithm": ("batch_dqn",),
    "network": ("compact", "published", "tokens"),
    "prior_of": PRIORS,
    "learn_from": ("chosen", "all"),
    "double": ("textbook", "paper", "none"),
    "loss": ("huber", "squared"),
    "optimiser": ("adam", "sgd"),
}
_INFINITE = float("inf")
_RANGES: dict[str, tuple[float, float, bool]] = {
    "hidden": (4, 256, True),
    "prior": (0, 1000, True),
    "members": (1, 50, True),
    "gate_features": (1, 4096, True),
    "gamma": (0, 1, True),
    "gamma_from": (0, 1, True),
    "n_step": (1, 50, True),
    "learning_rate": (0, 1, False),
    "learning_rate_floor": (0.01, 1, True),
    "momentum": (0, 0.999, True),
    "weight_decay": (0, 1, True),
    "gradient_clip": (0, _INFINITE, False),
    "batch_size": (2, 4096, True),
    "updates_per_step": (1, 100, True),
    "warm_up": (2, _INFINITE, True),
    "target_update": (1, _INFINITE, True),
    "epsilon_start": (0, 1, True),
    "epsilon_end": (0, 1, True),
    "exploration_share": (0, 1, False),
    "replay_size": (2, 10**7, True),
    "priority_alpha": (0, 1, False),
    "priority_beta": (0, 1, True),
}


@dataclass(frozen=True)
class SB3Options:
    """Settings of the Stable-Baselines3 agents, sized to trainings of some thousand steps.

    A value out of range raises RalsegError naming the range.
    """

    algorithm: str = "sb3_ppo"
    """`sb3_ppo` or `sb3_dqn`"""
    hidden: int = 64
    """width of the compact network, 4 to 256"""
    context: bool = True
    """whether the network sees the mean candidate of the slate"""
    gamma: float = 0.5
    """discount for a step of the game, 0 to 1; `sb3_dqn` applies gamma ** (1 / K) at each of its sub-steps, so that 0
    would hide the reward from all slates but the last: 0.01 is the least there"""
    learning_rate: float = 1e-3
    """of Adam, above 0, at most 1"""
    batch_size: int = 32
    """steps (ppo) or sub-steps (dqn) in an update, 2 to 4096"""
    n_steps: int = 64
    """ppo: steps between updates, at least the batch size"""
    epochs: int = 8
    """ppo: passes over them, 1 to 100"""
    entropy: float = 0.003
    """ppo: weight of the entropy bonus (of the sum over the slates), 0 to 1"""
    buffer_size: int = 2000
    """dqn: sub-steps kept, each with two copies of the state; at least the batch size"""
    updates_per_step: int = 4
    """dqn: gradient updates for every step of the game (K sub-steps), 1 to 1000"""
    target_update: int = 100
    """dqn: steps of the game between copies into the target network, 1 or more"""
    exploration_share: float = 0.35
    """dqn: share of the training over which epsilon falls from 1, above 0, at most 1"""
    epsilon_end: float = 0.05
    """dqn: epsilon after that, 0 to 1"""

    def __post_init__(self) -> None:
        _check(self, {"algorithm": ("sb3_ppo", "sb3_dqn")}, _SB3_RANGES)
        if self.algorithm == "sb3_dqn" and self.gamma < 0.01:
            raise RalsegError(f"gamma is {self.gamma}; it must be at least 0.01 for sb3_dqn")
        for name in ("n_steps", "buffer_size"):
            if getattr(self, name) < self.batch_size:
                raise RalsegError(f"{name} is {getattr(self, name)}; it must be at least batch_size, {self.batch_size}")


_SB3_RANGES: dict[str, tuple[float, float, bool]] = {
    "hidden": (4, 256, True),
    "gamma": (0, 1, True),
    "learning_rate": (0, 1, False),
    "batch_size": (2, 4096, True),
    "epochs": (1, 100, True),
    "entropy": (0, 1, True),
    "updates_per_step": (1, 1000, True),
    "target_update": (1, _INFINITE, True),
    "exploration_share": (0, 1, False),
    "epsilon_end": (0, 1, True),
}


def agent_options(mapping: Mapping[str, Any]) -> BatchDQNOptions | SB3Options:
    """Build the options of an agent from a configuration (`configs/agent/*.yaml`).

    Args:
        mapping: `algorithm` (`batch_dqn`, `sb3_ppo` or `sb3_dqn`) and any of its fields.

    Raises:
        RalsegError: if a setting is unknown, of another kind or out of range.
    """
    algorithm = mapping.get("algorithm", "batch_dqn")
    if algorithm not in ("batch_dqn", "sb3_ppo", "sb3_dqn"):
        raise RalsegError(f"algorithm is {algorithm!r}; it must be one of batch_dqn, sb3_ppo, sb3_dqn")
    return settings(BatchDQNOptions if algorithm == "batch_dqn" else SB3Options, mapping, "agent")


def _check(options: Any, choices: dict[str, tuple[str, ...]], ranges: dict[str, tuple[float, float, bool]]) -> None:
    for name, allowed in choices.items():
        if getattr(options, name) not in allowed:
            raise RalsegError(f"{name} is {getattr(options, name)!r}; it must be one of {', '.join(allowed)}")
    for name, (low, high, inclusive) in ranges.items():
        value = getattr(options, name)
        if not (low <= value if inclusive else low < value) or not value <= high:
            bounds = f"{'at least' if inclusive else 'above'} {low}" + (
                f" and at most {high}" if high < _INFINITE else ""
            )
            raise RalsegError(f"{name} is {value}; it must be {bounds}")
