"""Reinforced active learning for semantic segmentation.

Importing it registers the environment `ralseg/RegionSelection-v0`. It does not import torch.
"""

from importlib.metadata import version

import gymnasium

__version__ = version("ralseg")

gymnasium.register("ralseg/RegionSelection-v0", entry_point="ralseg.envs:make_env")
