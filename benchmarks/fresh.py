"""A function in a fresh process, with the CPU seconds of the process and of all that it started.

`python -m ralseg.benchmarks.fresh MODULE:FUNCTION ARGUMENTS` prints what the function returns; both are JSON.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ralseg.foundation import RalsegError


def in_fresh_process(function: Callable[..., Any], cache: str | Path | None = None, **arguments: Any) -> dict[str, Any]:
    """Call a function of a module in a new Python process.

    Args:
        function: found again by module and name.
        cache: of the stores and weights; None: this process's own.
        arguments: JSON values.

    Returns:
        `result`, what the function returned, and `cpu_seconds` of the process and its children, imports included.

    Raises:
        RalsegError: if it fails; what it met is printed.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"RALSEG_CACHE": str(cache)} if cache else {})
    child = subprocess.Popen(
        [sys.executable, "-m", "ralseg.benchmarks.fresh", name, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise RalsegError(f"{name} ended with status {child.returncode}; what it met is printed above")
    return {"result": json.loads(printed.splitlines()[-1]), "cpu_seconds": usage.ru_utime + usage.ru_stime}


def main(name: str, arguments: str) -> None:
    """Call the function that is named and print what it returns as the last line."""
    module, _, function = name.partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
