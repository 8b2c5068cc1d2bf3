"""Learn a query policy in the annotation game: `train_agent.py [group=choice ...] [group.key=value ...]`."""

import sys
from collections.abc import Sequence
from typing import Any

if __name__ not in ("__main__", "__mp_main__", "ralseg.train_agent"):
    raise ImportError("import ralseg.train_agent: under the name train_agent it would be another module")

EXAMPLES = """
Learn a query policy and compare it with baselines.

  train_agent.py                                             on drawn streets, nothing needed
  train_agent.py dataset=camvid dataset.root=<folder>        on CamVid
  train_agent.py agent=ralis features=published game=full    another agent, another game
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The door; returns the exit status. A run folder that is there is continued."""
    from ralseg.configs.door import run_door

    return run_door("train_agent", _play, argv, EXAMPLES)


def _play(config: dict[str, Any], overrides: list[str]) -> None:
    from ralseg.evaluation.commands.learning import learn_and_compare
    from ralseg.segmentation.learners.together import run_together

    run_together(config["device"], lambda: learn_and_compare(config, overrides))


if __name__ == "__main__":
    sys.exit(main())
