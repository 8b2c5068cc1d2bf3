"""Places that cannot be written, and names, numbers and lists that are none: one line before anything is trained."""

import pytest

from tests.test_bad_input import STREETS

PLACES = {
    "a file": ("run=file", "file: cannot be written (it is a file); choose another folder with run=<folder>"),
    "below a file": ("run=file/run", "file/run: cannot be written (Not a directory); choose another folder with run="),
    "in /proc": ("run=/proc/run", "/proc/run: cannot be written (No such file or directory); choose another folder"),
    "/proc itself": ("run=/proc", "/proc holds files of no "),
    "somebody's files": ("run=foreign", "foreign holds files of no "),
    "no name": ("run=null", "run=null names no folder; give one, e.g. run=runs/mine"),
    "an empty name": ("run=", "run='' names no folder"),
    "a list": ("run=[a]", "run=['a'] names no folder"),
}
ASKED = {
    "one budget": ("budgets=8", "budgets=8 is not a list of numbers, 0 or more; give e.g. {}budgets=[240,480]"),
    "budgets of words": ("budgets=[many]", "budgets=['many'] is not a list of numbers"),
    "a budget of nothing": ("budgets=[null]", "budgets=[None] is not a list of numbers"),
    "a budget below 0": ("budgets=[-2]", "budgets=[-2] is not a list of numbers"),
    "a budget that is none": ("budgets=[nan]", "budgets=[nan] is not a list of numbers"),
    "a budget without end": ("budgets=[inf]", "budgets=[inf] is not a list of numbers"),
    "a budget above the pool": ("budgets=[1000]", "80 units; lower {}budgets or game.budget"),
    "an uneven budget": ("budgets=[1,2]", "budget 1 is no multiple of game.slates=2"),
    "draws of words": ("draws=two", "draws='two' is out of range; it is a whole number, 1 or more"),
    "no processes": ("processes=null", "processes=None is out of range"),
    "one split": ("splits=8", "splits=8 is unknown; choose from [dev, test]"),
    "splits in splits": ("splits=[[dev]]", "splits=[['dev']] is unknown"),
    "a fit that is no group": ("fit=3", "fit is 3; it must be a group of draws, supervised, options"),
    "policies of numbers": ("policies=8", "policies=8 is not a list of names"),
    "a policy without dropout": ("policies=[bald]", "bald needs a network with dropout"),
    "a log in /proc": (
        "readings=/proc/log.csv",
        "/proc/log.csv: cannot be written (No such file or directory); choose another file with {}readings=<file>",
    ),
    "a log that is a folder": ("readings=foreign", "foreign: cannot be written (Is a directory); choose another file"),
    "a log below a file": ("readings=file/log.csv", "file/log.csv: cannot be written (it is a file); choose another"),
    "another table": ("readings=foreign/notes.csv", "foreign/notes.csv: not a log of test readings"),
}
CACHES = {
    "file": "file: cannot be written (it is a file); set RALSEG_CACHE to a folder that can be written",
    "file/cache": "file/cache: cannot be written (Not a directory); set RALSEG_CACHE",
    "/proc": "/proc: cannot be written (No such file or directory); set RALSEG_CACHE",
    "/proc/cache": "/proc/cache: cannot be written (No such file or directory); set RALSEG_CACHE",
}
DOORS = {"train": "comparison.", "evaluate": ""}


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    """Somebody's files in the folder where the command is given; they must stay as they are, and nothing may join."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/notes.csv").write_text("a,b\n1,2\n")
    yield
    left = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts}
    assert left == {"file": "kept", "notes.csv": "a,b\n1,2\n"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("place", PLACES)
def test_run_folders(refused, door, place):
    override, message = PLACES[place]
    assert message in refused(door, *STREETS, override)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_of_a_comparison(refused, door, case):
    override, message = ASKED[case]
    prefix = DOORS[door]
    line = refused(door, *STREETS, f"{prefix}splits=[dev,test]", prefix + override)
    assert message.replace("{}", prefix) in line


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("cache", CACHES)
def test_caches(refused, monkeypatch, door, cache):
    monkeypatch.setenv("RALSEG_CACHE", cache)
    assert CACHES[cache] in refused(door, *STREETS)
