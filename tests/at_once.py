"""Runs commands side by side, each in a process of its own, forked once everything is imported.

Reads lines of JSON: a folder, and commands as lists of a door and its overrides. Answers each with a line of JSON: for
each command its exit status and what it said on stderr.
"""

import json
import multiprocessing
import os
import sys

import ralseg.evaluation.commands.learning  # noqa: F401
from ralseg import evaluate_policy, train_agent

DOORS = {"train": train_agent.main, "evaluate": evaluate_policy.main}


def go(folder: str, number: int, door: str, overrides: list[str]) -> None:
    """One command; it ends the process."""
    os.chdir(folder)
    os.environ["RALSEG_CACHE"] = f"{folder}/cache"
    with open(f"{number}.out", "w") as sys.stdout, open(f"{number}.err", "w") as sys.stderr:
        status = DOORS[door](overrides)
    os._exit(status)


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    for line in sys.stdin:
        folder, commands = json.loads(line)
        processes = [fork.Process(target=go, args=(folder, n, c[0], c[1:])) for n, c in enumerate(commands)]
        for process in processes:
            process.start()
        found = []
        for number, process in enumerate(processes):
            process.join()
            with open(f"{folder}/{number}.err") as file:
                found.append([process.exitcode, file.read()])
        print(json.dumps(found), flush=True)
