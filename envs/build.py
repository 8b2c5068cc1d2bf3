"""Makes the environment of a configuration, in this process or in a spawned one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any

from ralseg.configs import composed
from ralseg.envs.game import Game
from ralseg.envs.region_selection import RegionSelectionEnv
from ralseg.envs.world import Role, World
from ralseg.foundation import RalsegError
from ralseg.segmentation.devices import single_thread


@dataclass(frozen=True)
class EnvFactory:
    """Makes the environment of a configuration, in this process or in a spawned one.

    In a process that multiprocessing has started, torch is set to one thread; in any other process its threads stay as
    they are. The commands set one thread themselves.

    Attributes:
        config: a composed configuration, plain values.
        role: decides which pool is played on.
        credit: whether `info` holds gradient credit, which costs a tenth of a step or so.
        reference: whether `info` holds the score of `game.reference`, which costs little.
        data: see `World`.
    """

    config: Mapping[str, Any]
    role: Role = "train"
    credit: bool = True
    reference: bool = True
    data: str | None = None

    def __call__(self) -> RegionSelectionEnv:
        """A new environment."""
        # Worker processes share the cores; in the caller's own process the number of threads is the caller's choice.
        if parent_process() is not None:
            single_thread()
        return RegionSelectionEnv(World(self.config, self.data).game(self.role, self.credit, self.reference))


def make_env(
    game: Game | None = None,
    overrides: Sequence[str] | str = (),
    role: Role = "train",
    credit: bool = True,
    reference: bool = True,
    render_mode: str | None = None,
) -> RegionSelectionEnv:
    """The entry point of `gymnasium.make("ralseg:ralseg/RegionSelection-v0", ...)`.

    Neither torch's threads nor a Hydra that the caller has initialised are changed. With several threads torch sums in
    another order, so observations and rewards equal those of the commands bit for bit only after
    `torch.set_num_threads(1)`, which is also faster where several games share the cores.

    Args:
        game: a game that was built by hand; by default one is built from the configuration of `train_agent.py`.
        overrides: changes to that configuration, as on the command line; a text is one of them.
        role: `train` (D_T) or `compare` (D_V).
        credit: whether `info` holds gradient credit.
        reference: whether `info` holds the score of `game.reference`.
        render_mode: None, since a game is not rendered.

    Raises:
        RalsegError: for a render mode, or see `composed` and `World`.
    """
    if render_mode is not None:
        raise RalsegError(
            f"render_mode={render_mode!r} is not there: the report of a comparison shows what was bought; leave it out"
        )
    if game is not None:
        return RegionSelectionEnv(game)
    overrides = [overrides] if isinstance(overrides, str) else overrides
    return RegionSelectionEnv(World(composed("train_agent", overrides)).game(role, credit, reference))
