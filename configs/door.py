"""What the commands share: the command line, the help, and one clear line where something is wrong."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import yaml

from ralseg.configs import composed
from ralseg.configs.overrides import groups
from ralseg.foundation import RalsegError
from ralseg.foundation.files import FULL
from ralseg.foundation.torchrun import GRACE, follows

HELP = """usage: {door}.py [group=choice ...] [group.key=value ...]

{epilog}

Groups and their choices:

{choices}

Settings outside of the groups ({door}.yaml):

{settings}

Settings inside the groups, as group.key=value. Those of another choice are shown by {door}.py group=choice --help.

{inside}"""


def run_door(
    door: str, play: Callable[[dict[str, Any], list[str]], None], argv: Sequence[str] | None, epilog: str
) -> int:
    """Compose the configuration of a command and run it.

    Args:
        door: `train_agent` or `evaluate_policy`, which is also the name of its YAML file.
        play: called with the composed configuration and the overrides.
        argv: the overrides; None takes those of the command line.
        epilog: what `--help` prints above the settings.

    Returns:
        The exit status: 0, 2 for bad input (which one line on stderr explains), or 130 when interrupted.
    """
    overrides = list(sys.argv[1:] if argv is None else argv)
    asked = [override for override in overrides if override not in ("-h", "--help")]
    threading.excepthook = _hook
    silent = follows()
    try:
        if asked != overrides:
            if not silent:
                print(_help(door, asked, epilog))
            return 0
        config, silent = composed(door, overrides), False
        play(config, overrides)
    except RalsegError as error:
        if silent:
            # The first process says what is wrong with the settings; the end of this one would end it before.
            time.sleep(GRACE)
        else:
            print(f"{door}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # Most writers say so themselves; TensorBoard's does not.
        if error.errno not in FULL:
            raise
        print(f"{door}: no space left on the disk; free some and run the same command again", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"{door}: there is not enough memory ({error}); use smaller images or fewer of them", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{door}: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _hook(failed: threading.ExceptHookArgs) -> None:
    # The thread of TensorBoard's writer hands its error on to the caller.
    if not isinstance(failed.exc_value, OSError) or failed.exc_value.errno not in FULL:
        threading.__excepthook__(failed)


def _help(door: str, overrides: Sequence[str], epilog: str) -> str:
    choices = "\n".join(f"{group}: {', '.join(names)}" for group, names in groups().items())
    inside = {key: part for key, part in composed(door, overrides, complete=False).items() if key in groups()}
    return HELP.format(
        door=door,
        epilog=epilog.strip(),
        choices=choices,
        settings=(files("ralseg.configs") / f"{door}.yaml").read_text().rstrip(),
        inside=yaml.safe_dump(inside, sort_keys=False, default_flow_style=None, width=100).rstrip(),
    )
