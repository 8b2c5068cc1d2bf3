"""Reinforced active learning for semantic segmentation.

Importing it registers the environment `ralseg/RegionSelection-v0`. It does not import torch.
"""

from importlib.metadata import version

import gymnasium

__version__ = version("ralseg")

# A test run imports this file a second time, under the name of the checkout's folder.
if "ralseg/RegionSelection-v0" not in gymnasium.registry:
    gymnasium.register("ralseg/RegionSelection-v0", entry_point="ralseg.envs:make_env")
