"""Write your own acquisition and compare it with random and margin on drawn streets: about a minute on one core.

uv run examples/own_acquisition.py [overrides of evaluate_policy.yaml ...]
"""

import sys
from dataclasses import dataclass

import numpy as np

from ralseg.agents.acquisitions import FixedPolicy, map_reducer
from ralseg.agents.acquisitions.base import Scored
from ralseg.configs import composed
from ralseg.evaluation.policies import NamedPolicy
from ralseg.evaluation.runs import compare
from ralseg.evaluation.summary import summarise

SMALL = [
    "dataset.images=100", "dataset.size=[144,192]", "protocol.counts={state: 8, train: 8, compare: 40, dev: 10}",
    "game.unit=[36,48]", "game.slates=8", "game.candidates=12", "game.budget=64", "theta0.fit.steps=150",
]  # fmt: skip


def energy(logits):
    """Map logits (B, C, h, w) to the free energy of each pixel, (B, h, w): high where no class has a high logit."""
    return -np.logaddexp.reduce(logits, axis=1)


@dataclass(frozen=True, kw_only=True)
class Energy(Scored):
    """Buys the regions with the highest mean free energy (Liu et al., 2020)."""

    name, lowest = "energy", -np.inf
    reducers = (map_reducer("energy", energy),)

    def score(self, candidates):
        """Return one score per candidate, (candidates,); the highest are bought."""
        return candidates.reduced("energy")


if __name__ == "__main__":
    mine = NamedPolicy("energy", FixedPolicy(Energy()), identity=repr(Energy()))
    config = composed("evaluate_policy", [*SMALL, *sys.argv[1:]])
    results = compare(
        config,
        ["random", "margin", mine],
        config["run"],
        draws=config["draws"],
        splits=["dev"],
        readings=config["readings"],
    )
    for entry in summarise(results)["entries"]:
        gain = entry["difference"].get("random")
        less = f"{gain['mean']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}] against random" if gain else ""
        print(f"{entry['policy']:8} mIoU {entry['miou']:.2f} on dev  {less}")
