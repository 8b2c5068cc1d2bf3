"""The annotation game and its Gymnasium environment."""

if __name__ != "ralseg.envs":
    raise ImportError("import ralseg.envs: under the name envs every class would exist a second time")

from ralseg.envs.build import EnvFactory, World, make_env
from ralseg.envs.candidates import draw_candidates
from ralseg.envs.credit import GradientCredit
from ralseg.envs.game import Game, Turn
from ralseg.envs.ledger import Ledger
from ralseg.envs.open_candidates import Candidates
from ralseg.envs.options import GameOptions
from ralseg.envs.oracle import GroundTruth, Oracle
from ralseg.envs.pool import Pool
from ralseg.envs.reducers import UnitReducer
from ralseg.envs.reducible_loss import FromGame
from ralseg.envs.region_selection import RegionSelectionEnv
from ralseg.envs.view import CandidatesView

__all__ = [
    "Candidates",
    "CandidatesView",
    "EnvFactory",
    "FromGame",
    "Game",
    "GameOptions",
    "GradientCredit",
    "GroundTruth",
    "Ledger",
    "Oracle",
    "Pool",
    "RegionSelectionEnv",
    "Turn",
    "UnitReducer",
    "World",
    "draw_candidates",
    "make_env",
]
