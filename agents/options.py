"""The settings of the agents, each with its range."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from ralseg.features import Prior
from ralseg.foundation import Count, PositiveShare, RalsegError, Range, Settings, Share, settings


@dataclass(frozen=True)
class Signal(Settings, group="agent.signal"):
    """The reward of a choice as a weighted sum of three parts. At least one weight is not 0."""

    reward: float = 0.0
    """weight of the env's reward: 100 x the gain in mIoU on D_R, shared by the K choices (the paper's only signal)"""
    credit: float = 0.0
    """weight of `info['candidate_credit']`, standardised within the step over the open candidates (mean 0, sd 1)"""
    reference: float = 1.0
    """weight of `info['candidate_reference']`, the score of a reference that sees true labels, standardised as well"""


@dataclass(frozen=True)
class BatchDQNOptions(Settings, group="agent"):
    """Settings of the batch-mode double DQN.

    Raises:
        RalsegError: for a value out of its range, or values that contradict each other.
    """

    algorithm: Literal["batch_dqn"] = "batch_dqn"
    """`batch_dqn`"""
    network: Literal["compact", "published", "tokens"] = "compact"
    """`compact` (the default), `published` (Figure B.1 of the RALIS paper), or `tokens` (the same weights for all
    classes, so that a policy fits any data set; needs features=transferable)"""
    hidden: Annotated[int, Range(4, 256)] = 64
    """width of the compact and the token network, 4 to 256"""
    context: bool = True
    """whether the compact and the token network see the mean candidate of the slate"""
    prior: Annotated[float, Range(0, 1000)] = 0.0
    """weight of a candidate's uncertainty (standardised within the step) in these two networks, 0 to 1000. It is added
    to the signal, and to the Q-value, which need not learn what is known"""
    prior_of: Prior = "margin"
    """the uncertainty of the prior: `margin` (one minus the mean margin) or `disagreement` (the mutual information
    under noise, as in DALD and BALD); the observation must contain it"""
    members: Annotated[int, Range(1, 50)] = 1
    """number of compact networks trained side by side, each from its own initial weights; Q is their mean. 1 to 50"""
    gate_features: Annotated[int, Range(1, 4096)] = 64
    """number of a candidate's last features (its KL histograms) that feed the published network's gate, 1 to 4096"""
    signal: Signal = field(default_factory=Signal)
    """the reward of a choice"""
    learn_from: Literal["chosen", "all"] = "all"
    """`chosen`: the K sub-transitions of a step, as published. `all`: every open candidate of the step with its own
    credit and reference; see `BatchModeDQN` for the counterfactual approximation that this makes"""
    gamma: Share = 0.8
    """discount of the future, 0 to 1; 0 is plain regression of the signal, without a target network"""
    gamma_from: Share = 0.0
    """share of the episodes before which gamma is 0: a warm start by regression, then Q-learning. 0 to 1"""
    n_step: Annotated[int, Range(1, 50)] = 1
    """env steps of signal before the bootstrap, 1 to 50"""
    double: Literal["textbook", "paper", "none"] = "textbook"
    """which network selects and which evaluates the next choice: `textbook` (online selects, target evaluates),
    `paper` (eq. 3 of RALIS: target selects, online evaluates) or `none` (target does both)"""
    loss: Literal["huber", "squared"] = "huber"
    """`huber` (threshold 1) or `squared` (the paper)"""
    optimiser: Literal["adam", "sgd"] = "adam"
    """`adam` or `sgd` (the paper)"""
    learning_rate: PositiveShare = 5e-4
    """step size of the optimiser, above 0, at most 1"""
    learning_rate_floor: Annotated[float, Range(0.01, 1)] = 1.0
    """share of the learning rate that is left at the end of a cosine schedule, 0.01 to 1; 1 is constant"""
    momentum: Annotated[float, Range(0, 0.999)] = 0.9
    """momentum of `sgd`, 0 to 0.999"""
    weight_decay: Share = 0.0
    """weight decay of the optimiser, 0 to 1"""
    gradient_clip: Annotated[float, Range(0, above=True)] = 10.0
    """largest gradient norm, above 0"""
    batch_size: Annotated[int, Range(2, 4096)] = 16
    """env steps in an update (each brings its K sub-transitions), 2 to 4096"""
    updates_per_step: Annotated[int, Range(1, 100)] = 4
    """gradient updates for every env step, 1 to 100"""
    warm_up: Annotated[int, Range(2)] = 40
    """env steps before the first update, which also fit the input scaling; at least the batch size"""
    target_update: Count = 100
    """updates between copies of the online network into the target network, 1 or more"""
    explore_by: Literal["choices", "weights"] = "choices"
    """`choices`: each choice is random with probability epsilon. `weights`: each episode is played by a copy of the
    network with normal noise on its weights (Plappert et al., ICLR 2018), of epsilon times their root mean square, so
    that all choices of an episode err alike and what they share, its return, says which way is better"""
    epsilon_start: Share = 1.0
    """share of random choices (drawn independently for each slate) or scale of the noise at the start, 0 to 1"""
    epsilon_end: Share = 0.05
    """the same after `exploration_share` of the training, 0 to 1"""
    exploration_share: PositiveShare = 0.35
    """share of the episodes over which epsilon falls linearly, above 0, at most 1"""
    replay_size: Annotated[int, Range(2, 10**7)] = 4000
    """env steps kept over all streams, 2 to 10 million; the default is more than a usual training plays"""
    replay_half: bool = True
    """whether observations are kept as float16 (half the memory and disk; features must stay below 65504)"""
    prioritised: bool = False
    """prioritised replay (Schaul et al., 2016), by the mean absolute error of a step's sub-transitions"""
    priority_alpha: PositiveShare = 0.6
    """exponent of the priorities, above 0, at most 1"""
    priority_beta: Share = 0.4
    """exponent of the importance weights, 0 to 1"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warm_up < self.batch_size:
            raise RalsegError(f"warm_up={self.warm_up} must be at least batch_size={self.batch_size}")
        if self.replay_size < self.warm_up:
            raise RalsegError(f"replay_size={self.replay_size} must be at least warm_up={self.warm_up}")
        if self.network == "published" and self.prior:
            raise RalsegError("network=published has no prior; set prior=0")
        if self.network != "compact" and self.members > 1:
            raise RalsegError(f"members is for network=compact; set members=1 for network={self.network}")
        if self.gamma_from and not self.gamma:
            raise RalsegError("gamma_from is the share of the training before which gamma is 0; set gamma above 0, too")
        if not any(asdict(self.signal).values()):
            raise RalsegError("signal is 0 throughout; give reward, credit or reference a weight")
        if self.learn_from == "all" and not (self.signal.credit or self.signal.reference):
            raise RalsegError(
                "learn_from=all cannot distinguish candidates by the shared reward alone; "
                "use learn_from=chosen, or give signal.credit or signal.reference a weight"
            )


@dataclass(frozen=True)
class SB3Options(Settings, group="agent"):
    """Settings of the Stable-Baselines3 agents, sized to trainings of some thousand steps.

    Raises:
        RalsegError: for a value out of its range, or values that contradict each other.
    """

    algorithm: Literal["sb3_ppo", "sb3_dqn"] = "sb3_ppo"
    """`sb3_ppo` or `sb3_dqn`"""
    hidden: Annotated[int, Range(4, 256)] = 64
    """width of the compact network, 4 to 256"""
    context: bool = True
    """whether the network sees the mean candidate of the slate"""
    gamma: Share = 0.5
    """discount per step of the game, 0 to 1; `sb3_dqn` applies gamma ** (1 / K) at each of its sub-steps and needs at
    least 0.01, because 0 would hide the reward from all slates but the last"""
    learning_rate: PositiveShare = 1e-3
    """step size of Adam, above 0, at most 1"""
    batch_size: Annotated[int, Range(2, 4096)] = 32
    """steps (PPO) or sub-steps (DQN) in an update, 2 to 4096"""
    n_steps: Count = 64
    """PPO: steps between updates, at least the batch size"""
    epochs: Annotated[int, Range(1, 100)] = 8
    """PPO: passes over the steps of an update, 1 to 100"""
    entropy: Share = 0.003
    """PPO: weight of the entropy bonus (of the sum over the slates), 0 to 1"""
    buffer_size: Count = 2000
    """DQN: sub-steps kept in the replay, each with two copies of the state; at least the batch size"""
    updates_per_step: Annotated[int, Range(1, 1000)] = 4
    """DQN: gradient updates for every step of the game (K sub-steps), 1 to 1000"""
    target_update: Count = 100
    """DQN: steps of the game between copies into the target network, 1 or more"""
    exploration_share: PositiveShare = 0.35
    """DQN: share of the training over which epsilon falls from 1, above 0, at most 1"""
    epsilon_end: Share = 0.05
    """DQN: epsilon from then on, 0 to 1"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algorithm == "sb3_dqn" and self.gamma < 0.01:
            raise RalsegError(f"gamma={self.gamma} must be at least 0.01 for sb3_dqn")
        for name in ("n_steps", "buffer_size"):
            if getattr(self, name) < self.batch_size:
                raise RalsegError(f"{name}={getattr(self, name)} must be at least batch_size={self.batch_size}")


def agent_options(mapping: Mapping[str, Any]) -> BatchDQNOptions | SB3Options:
    """Build the options of an agent from a configuration (`configs/agent/*.yaml`).

    Args:
        mapping: `algorithm` (`batch_dqn`, `sb3_ppo` or `sb3_dqn`) and any of its fields.

    Raises:
        RalsegError: if a setting is unknown, of a wrong type or out of range.
    """
    algorithm = mapping.get("algorithm", "batch_dqn")
    if algorithm not in ("batch_dqn", "sb3_ppo", "sb3_dqn"):
        raise RalsegError(f"agent.algorithm={algorithm!r} is unknown; choose from batch_dqn, sb3_ppo, sb3_dqn")
    return settings(BatchDQNOptions if algorithm == "batch_dqn" else SB3Options, mapping, "agent")
