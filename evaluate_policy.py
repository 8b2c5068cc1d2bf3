"""Compare policies in the annotation game: `evaluate_policy.py [group=choice ...] [group.key=value ...]`."""

import sys
from collections.abc import Sequence
from typing import Any

if __name__ not in ("__main__", "__mp_main__", "ralseg.evaluate_policy"):
    raise ImportError("import ralseg.evaluate_policy: under the name evaluate_policy it would be another module")

EXAMPLES = """
Compare query policies on a pool that none of them has seen.

  evaluate_policy.py                                              three acquisitions on drawn streets, nothing needed
  evaluate_policy.py policies=all network.dropout=0.1             every acquisition there is
  evaluate_policy.py 'policies=[random,{ripu:{mode:ra}}]'         one with options
  evaluate_policy.py policies=[random,margin,run:runs/train]      a policy that train_agent.py left in runs/train
  evaluate_policy.py 'policies=[random,run:runs/ddqn-*]'          its training seeds, one folder each
  evaluate_policy.py dataset=camvid dataset.root=<folder> budgets=[240,480] fit.draws=2

A comparison that was interrupted goes on when the same command is run again.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The door; returns the exit status."""
    from ralseg.configs.door import run_door

    return run_door("evaluate_policy", _play, argv, EXAMPLES)


def _play(config: dict[str, Any], overrides: list[str]) -> None:
    from ralseg.evaluation.commands.comparing import compare_and_report
    from ralseg.evaluation.run_folder import run_folder
    from ralseg.segmentation.learners.together import run_together

    run_together(config["device"], lambda: compare_and_report(config, run_folder(config)))


if __name__ == "__main__":
    sys.exit(main())
