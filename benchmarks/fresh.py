"""Calls a function in a fresh process and measures the CPU seconds of that process and of all that it starts.

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
        function: a function at the top level of a module; the new process finds it by module and name.
        cache: folder of image stores and weights; None means the cache of this process.
        arguments: keyword arguments of the function, JSON values.

    Returns:
        `result`, the function's return value after a round trip through JSON, and `cpu_seconds`, the CPU seconds of the
        process and of its children, imports included.

    Raises:
        RalsegError: if the process fails. Its traceback has been printed by then.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"RALSEG_CACHE": str(cache)} if cache else {})
    child = subprocess.Popen(
        [sys.executable, "-m", "ralseg.benchmarks.fresh", name, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert child.stdout is not None
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise RalsegError(f"{name} ended with status {child.returncode}; its traceback is printed above")
    return {"result": json.loads(printed.splitlines()[-1]), "cpu_seconds": usage.ru_utime + usage.ru_stime}


def main(name: str, arguments: str) -> None:
    """Call the named function (`MODULE:FUNCTION`) and print its return value as the last line, in JSON."""
    module, _, function = name.partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
