import os
import subprocess
import sys
from pathlib import Path

import pytest

from ralseg.foundation import read_json

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_killed_runs_end_with_the_same_bytes(tmp_path):
    """A run is killed at a moment and another before a change; in a process of its own, because they are forked."""
    script = [sys.executable, ROOT / "benchmarks/run.py", "kill", "--share", "0.01", "--out", tmp_path / "kill.json"]
    subprocess.run(script, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    found = read_json(tmp_path / "kill.json")
    assert found["files"] > 40 and found["changes"] > 500
    assert [set(kill) & {"moment", "change"} for kill in found["kills"]] == [{"moment"}, {"change"}]
    for kill in found["kills"]:
        assert (kill["status"], kill["not_same"]) == (0, []) and kill["readings"] >= 1
