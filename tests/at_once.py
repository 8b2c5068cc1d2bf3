"""Runs commands side by side, each in a process of its own: `at_once.py COMMANDS`, JSON lists of a door and overrides.

Prints JSON: for each its exit status and what it said on stderr. The processes are forked once everything is imported,
so that they begin together.
"""

import json
import multiprocessing
import os
import sys

import ralseg.evaluation.commands.learning  # noqa: F401
from ralseg import evaluate_policy, train_agent

DOORS = {"train": train_agent.main, "evaluate": evaluate_policy.main}


def go(number: int, door: str, overrides: list[str]) -> None:
    """One command; it ends the process."""
    with open(f"{number}.out", "w") as sys.stdout, open(f"{number}.err", "w") as sys.stderr:
        status = DOORS[door](overrides)
    os._exit(status)


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    commands = json.loads(sys.argv[1])
    processes = [fork.Process(target=go, args=(number, door, rest)) for number, (door, *rest) in enumerate(commands)]
    for process in processes:
        process.start()
    found = []
    for number, process in enumerate(processes):
        process.join()
        with open(f"{number}.err") as file:
            found.append([process.exitcode, file.read()])
    print(json.dumps(found))
