"""Do the tests of the core notice a changed line? `uv run tools/mutation_test.py [FILE ...]` tries a sample of changes.

A changed module exists in memory only: a child process imports it in the place of the one on disk and runs its tests,
so that the checkout may be used meanwhile. Children are forked from a process that has imported all dependencies.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from ralseg.foundation import atomic_write
from ralseg.tools.mutations import Mutation, mutated, mutations

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks/results/mutants.json"
NAMES = ("acquisitions", "selection", "compositions", "coverage", "spread", "overlap")
CHOOSING = [f"agents/test_{name}.py" for name in NAMES]
READING = ["envs/test_reader.py", "segmentation/test_noise.py"]
CREDIT = ["envs/test_credit.py", "envs/test_observer.py"]
TESTS: dict[str, tuple[list[str], list[str]]] = {
    "features/*.py": (["features/test_[!a]*.py", "features/test_arrays.py"], [*READING, *CHOOSING]),
    "agents/acquisitions/*.py": (CHOOSING, ["agents/test_entry_points.py", *READING]),
    "agents/replay.py": (["agents/test_batch_dqn.py"], []),
    "agents/batch_dqn.py": (["agents/test_batch_dqn.py"], []),
    "envs/ledger.py": (["envs/test_ledger.py"], ["envs/test_game.py"]),
    "envs/targets.py": (CREDIT, []),
    "envs/credit.py": (CREDIT, []),
    "segmentation/metrics.py": (["segmentation/test_metrics.py"], []),
}
"""Files of the core, with the tests below tests/ that are about them and more that use them."""


class Changed(SourceFileLoader, MetaPathFinder):
    """Imports one module with other code than that on disk."""

    def __init__(self, path: str, tree: Any) -> None:
        self.name = f"ralseg.{path.removesuffix('.py').replace('/', '.')}"
        super().__init__(self.name, str(ROOT / "ralseg" / path))
        self._code = compile(tree, self.path, "exec")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's spec, and None for any other."""
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """The changed code."""
        return self._code


def run_tests(batches: Sequence[Sequence[str]], finder: Changed | None) -> None:
    """In a child: runs batches of arguments for pytest; ends with status 0 if all tests pass, with another if not."""
    os.setsid()
    if finder is not None:
        sys.meta_path.insert(0, finder)
    for batch in batches:
        if _pytest("-x", *batch) not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            sys.exit(1)


def passes(batches: Sequence[Sequence[str]], finder: Changed | None = None, limit: float | None = None) -> bool:
    """Whether the tests pass within `limit` seconds."""
    child = multiprocessing.get_context("fork").Process(target=run_tests, args=(batches, finder))
    child.start()
    child.join(limit)
    if child.exitcode is None:
        _end(child)
    return child.exitcode == 0


@functools.cache
def time_of(tests: frozenset[str]) -> float:
    """Seconds that tests take without a change.

    Raises:
        SystemExit: if they fail, as nothing can be learned from them then.
    """
    started = time.monotonic()
    if not passes([sorted(tests)]):
        sys.exit(f"these tests fail without a change; mend them first: {' '.join(sorted(tests))}")
    return time.monotonic() - started


def _end(child: BaseProcess) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid or 0, signal.SIGKILL)
    child.join()


def _pytest(*arguments: str) -> int:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        return pytest.main(["-q", "-p", "no:cacheprovider", *arguments])


def import_dependencies(tests: Sequence[str]) -> None:
    """Import what the tests import, and forget what is ours, so that a child imports it anew."""
    _pytest("--collect-only", *tests)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ralseg", "tests", "conftest")]:
        del sys.modules[name]


def try_file(
    path: str, batches: Sequence[Sequence[str]], sample: int, seed: int, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Try the mutations of one file: a sample of them, or those that survived before if the file is still the same.

    A mutation that has a reason why no test can notice it is not tried again.
    """
    source = (ROOT / path).read_text()
    found = mutations(source)
    drawn = sorted(random.Random(f"{seed} {path}").sample(found, min(sample, len(found))))
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    reasons = dict.fromkeys(drawn, "")
    if before is not None and before["source"] == digest and before["tried"] == len(drawn):
        old = {(survivor["line"], survivor["change"]): survivor["reason"] for survivor in before["survivors"]}
        reasons = {mutation: old[mutation[2:]] for mutation in drawn if mutation[2:] in old}
    tests = frozenset(argument for batch in batches for argument in batch if argument.endswith(".py"))
    limit = 60 + 5 * time_of(tests) if "" in reasons.values() else 0

    def survives(mutation: Mutation) -> bool:
        return passes(batches, Changed(path, mutated(source, mutation)), limit)

    survivors = [
        {"line": mutation.line, "change": mutation.what, "reason": reason}
        for mutation, reason in reasons.items()
        if reason or survives(mutation)
    ]
    return {"source": digest, "found": len(found), "tried": len(drawn), "survivors": survivors}


def core(quick: bool) -> Iterator[tuple[str, list[list[str]]]]:
    """Each file of the core with arguments for pytest: its own first, then other quick ones, then the slow."""
    for pattern, (about, further) in TESTS.items():
        close, far = (
            [test.relative_to(ROOT).as_posix() for name in names for test in sorted(ROOT.glob(f"tests/{name}"))]
            for names in (about, further)
        )
        for path in sorted(ROOT.glob(pattern)):
            own = _naming(path, close)
            batches = [own[:1] or close] if quick else [own, [test for test in close if test not in own], far]
            marked = [["-m", "not slow", *batch] for batch in batches if batch]
            if path.name != "__init__.py":
                yield path.relative_to(ROOT).as_posix(), [*marked, *([] if quick else [["-m", "slow", *close, *far]])]


def _naming(path: Path, tests: Sequence[str]) -> list[str]:
    """The tests of the file's own name, and those that name what it defines; what names it most comes first."""
    defined = [
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    named = re.compile(rf"\b({'|'.join([rf'{path.parent.name}[.]{path.stem}', *defined])})\b")
    often = {test: len(named.findall((ROOT / test).read_text())) for test in tests}
    found = [test for test in tests if path.stem in test or often[test]]
    return sorted(found, key=lambda test: (path.stem not in test, -often[test]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Try files of the core, and write what came of it after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files of the core, as features/grid.py; all if none is named")
    parser.add_argument("--sample", type=int, default=25, help="the most mutations of a file (25)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument(
        "--quick", action="store_true", help="only the quick tests of the file of tests that is closest"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON file, which is read first if it is there")
    chosen = parser.parse_args(arguments)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RALSEG_CACHE"] = cache
        result = json.loads(chosen.out.read_text()) if chosen.out.exists() else {"files": {}}
        result["seed"] = chosen.seed
        checks = {path: batches for path, batches in core(chosen.quick) if not chosen.files or path in chosen.files}
        import_dependencies(sorted({word for of in checks.values() for batch in of for word in batch if "/" in word}))
        for path, batches in checks.items():
            done = try_file(path, batches, chosen.sample, chosen.seed, result["files"].get(path))
            result["files"][path] = done
            with atomic_write(chosen.out, "w") as file:
                file.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
            print(f"{path}: {done['tried'] - len(done['survivors'])} of {done['tried']} noticed", flush=True)


if __name__ == "__main__":
    main()
