"""What the doors share: command line in, one clear line out where something is wrong."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ralseg.foundation import RalsegError

HELP = """usage: {door}.py [group=choice ...] [group.key=value ...]

{epilog}

Groups and settings with their defaults ({door}.yaml):
{settings}"""


def run_door(
    door: str,
    play: Callable[[dict[str, Any], list[str]], None],
    argv: Sequence[str] | None,
    epilog: str,
) -> int:
    """Compose the configuration of a door and play it.

    Args:
        door: `train_agent` or `evaluate_policy`; the name of its YAML.
        play: called with the composed configuration and the overrides.
        argv: the overrides; None: those of the command line.
        epilog: what `--help` says above the settings.

    Returns:
        The exit status: 0, 2 for bad input (one line on stderr says what), 130 when interrupted.
    """
    overrides = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(overrides):
        print(HELP.format(door=door, epilog=epilog.strip(), settings=_settings(door)))
        return 0
    try:
        # Hydra takes half a second to import, which --help and a typing error need not wait for twice.
        from ralseg.configs import composed

        play(composed(door, overrides), overrides)
    except RalsegError as error:
        print(f"{door}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{door}: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _settings(door: str) -> str:
    from importlib.resources import files

    root = files("ralseg.configs")
    # Acquisitions are named in `policies`.
    groups = sorted(
        entry for entry in root.iterdir() if entry.is_dir() and entry.name not in ("__pycache__", "acquisition")
    )
    names = {group.name: sorted(entry.name for entry in group.iterdir()) for group in groups}
    choices = [
        f"{group}: {', '.join(name.removesuffix('.yaml') for name in files if name.endswith('.yaml'))}"
        for group, files in names.items()
    ]
    return "\n".join(["", *choices, "", (root / f"{door}.yaml").read_text()])
