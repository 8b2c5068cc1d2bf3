"""The environment of a configuration, made in the caller's process or in one of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any

from ralseg.configs import composed
from ralseg.envs.game import Game
from ralseg.envs.region_selection import RegionSelectionEnv
from ralseg.envs.world import Role, World
from ralseg.segmentation.devices import single_thread


@dataclass(frozen=True)
class EnvFactory:
    """Makes the environment of a configuration, in this process or in a spawned one.

    In a process that multiprocessing has started it computes in one thread; in any other, threads stay as they are.
    The commands set one thread themselves.

    Attributes:
        config: a composed configuration, plain values.
        role: whose pool is played on.
        credit: whether `info` holds gradient credit, which costs a tenth of a step or so.
        reference: whether `info` holds the score of `game.reference`, which costs little.
    """

    config: Mapping[str, Any]
    role: Role = "train"
    credit: bool = True
    reference: bool = True

    def __call__(self) -> RegionSelectionEnv:
        """A new environment."""
        # Games in processes of their own share the cores; in the caller's process the threads are the caller's affair.
        if parent_process() is not None:
            single_thread()
        return RegionSelectionEnv(World(self.config).game(self.role, self.credit, self.reference))


def make_env(
    game: Game | None = None,
    overrides: Sequence[str] = (),
    role: Role = "train",
    credit: bool = True,
    reference: bool = True,
) -> RegionSelectionEnv:
    """The entry point of `gymnasium.make("ralseg:ralseg/RegionSelection-v0", ...)`.

    The threads of torch and a Hydra of the caller's stay as they are. Torch adds numbers up in another order in several
    threads, so that observations and rewards agree with those of the commands to the last bits only after
    `torch.set_num_threads(1)`, which is also the faster choice where several games share the cores.

    Args:
        game: a game that was built by hand; else one is built from the configuration of `train_agent.py`.
        overrides: of that configuration, as on the command line.
        role: `train` (D_T) or `compare` (D_V).
        credit: whether `info` holds gradient credit.
        reference: whether `info` holds the score of `game.reference`.
    """
    if game is not None:
        return RegionSelectionEnv(game)
    return RegionSelectionEnv(World(composed("train_agent", overrides)).game(role, credit, reference))
