"""Where the policies are that came with ralseg."""

from importlib.resources import files
from pathlib import Path

from ralseg.agents.query_policy import DESCRIPTION
from ralseg.foundation import RalsegError

ZOO = Path(str(files("ralseg.policies")))


def zoo_names() -> list[str]:
    """Names of the policies that came with ralseg."""
    return sorted(path.parent.name for path in ZOO.glob(f"*/{DESCRIPTION}"))


def zoo_folder(name: str) -> Path:
    """The folder of a policy that came with ralseg.

    Raises:
        RalsegError: for an unknown name.
    """
    if name not in zoo_names():
        raise RalsegError(f"zoo:{name}: no such policy came with ralseg; choose from {', '.join(zoo_names())}")
    return ZOO / name
