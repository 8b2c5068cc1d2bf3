"""The annotation game and its Gymnasium environment."""

if __name__ != "ralseg.envs":
    raise ImportError("import ralseg.envs; importing it as envs would create a second copy of every class")

from ralseg.envs.build import EnvFactory, make_env
from ralseg.envs.campaign import Campaign
from ralseg.envs.candidates import draw_candidates
from ralseg.envs.credit import GradientCredit
from ralseg.envs.game import Game, Turn
from ralseg.envs.hindsight import Hindsight
from ralseg.envs.ledger import Ledger
from ralseg.envs.options import GameOptions
from ralseg.envs.oracle import GroundTruth, Oracle
from ralseg.envs.pool import Pool
from ralseg.envs.records import RecordsFile
from ralseg.envs.region_selection import RegionSelectionEnv
from ralseg.envs.world import World

__all__ = [
    "Campaign",
    "EnvFactory",
    "Game",
    "GameOptions",
    "GradientCredit",
    "GroundTruth",
    "Hindsight",
    "Ledger",
    "Oracle",
    "Pool",
    "RecordsFile",
    "RegionSelectionEnv",
    "Turn",
    "World",
    "draw_candidates",
    "make_env",
]
