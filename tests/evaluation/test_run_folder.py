import os
from pathlib import Path

import pytest

from ralseg.evaluation.run_folder import check_contents, opened, run_folder
from ralseg.foundation import RalsegError


@pytest.mark.parametrize(("run", "folder"), [("runs/a", "runs/a"), (2024, "2024"), ("2024", "2024"), (" a", " a")])
def test_a_name(run, folder):
    assert run_folder({"run": run}) == Path(folder)


def test_a_home(monkeypatch):
    monkeypatch.setenv("HOME", "/there")
    assert run_folder({"run": "~/runs"}) == Path("/there/runs")


@pytest.mark.parametrize(("run", "shown"), [(None, "null"), (True, "True"), ("", "''"), ([1], "[1]"), ("a\0", "'a")])
def test_what_is_no_name(run, shown):
    with pytest.raises(RalsegError) as refused:
        run_folder({"run": run})
    assert str(refused.value).startswith(f"run={shown}") and "names no folder; give one, e.g. run=" in str(
        refused.value
    )


def test_a_number_that_was_written_otherwise():
    with pytest.raises(RalsegError, match=r"run=1000\.0 is a number; give it as text"):
        run_folder({"run": 1e3})


@pytest.mark.parametrize(
    ("kind", "there", "message"),
    [
        ("training", ["notes.txt"], "holds files of no training: notes.txt; choose another folder"),
        ("training", ["e", "d", "c", "b", "a"], "no training: a, b, c and 2 more; choose"),
        ("training", ["results.csv", "comparison.json"], "no training: comparison.json, results.csv; choose"),
        ("training", ["policy.json"], "no training: policy.json"),
        ("comparison", ["comparison/results.csv"], "no comparison: comparison; choose"),
        ("comparison", ["notes.txt"], "no comparison: notes.txt; choose"),
        ("comparison", ["config.json", "tensorboard/log"], "holds a training, whose files a comparison would replace"),
    ],
)
def test_foreign_files_are_named(tmp_path, kind, there, message):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(RalsegError, match=message), opened(tmp_path, kind):
        pass
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(there)


@pytest.mark.parametrize(
    ("kind", "there"),
    [
        ("training", []),
        ("training", [".DS_Store", ".owner.json", "comparison/.lock"]),
        ("training", ["comparison/results.csv"]),
        ("training", ["config.json", "notes.txt", "policy.json"]),
        ("comparison", ["results.csv", "notes.txt"]),
        ("comparison", ["comparison.json"]),
    ],
)
def test_what_may_be_there(tmp_path, kind, there):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    check_contents(tmp_path, kind)
    check_contents(tmp_path / "nowhere", kind)


def test_it_is_looked_at_again_once_it_is_held(tmp_path, monkeypatch):
    import ralseg.evaluation.run_folder as run_folder

    owned = run_folder.owned

    def late(folder):
        (folder / "results.csv").touch()
        return owned(folder)

    monkeypatch.setattr(run_folder, "owned", late)
    with pytest.raises(RalsegError, match=r"no training: results\.csv"), opened(tmp_path, "training"):
        pass
    assert os.listdir(tmp_path) == ["results.csv"]
