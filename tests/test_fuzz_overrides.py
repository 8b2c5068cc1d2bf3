"""Any list of overrides is either taken or refused in one line, before anything is trained or written.

The quick run tries a few; FUZZ_EXAMPLES=1000 pytest tests/test_fuzz_overrides.py tries many.
"""

import contextlib
import io
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ralseg.evaluate_policy
import ralseg.train_agent
from ralseg.configs import composed
from ralseg.envs import World

DOORS = {"train_agent": ralseg.train_agent.main, "evaluate_policy": ralseg.evaluate_policy.main}
SMALL = [
    "dataset.images=40",
    "dataset.size=[96,128]",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}",
    "theta0.fit.steps=2",
    "theta0.fit.batch=2",
    "game.unit=[24,32]",
    "game.slates=2",
    "game.candidates=2",
    "game.budget=2",
]
CHOICES = [
    "game=frozen",
    "game=full",
    "agent=ddqn",
    "agent=ralis",
    "agent=sb3_ppo",
    "features=published",
    "features=transferable",
    "network=ralis_fpn",
    "network=pixel_mlp",
    "source=timm",
    "theta0=file",
    "protocol=camvid",
    "taxonomy=cityscapes",
    "dataset=folder",
    "dataset=camvid",
    "comparison=full",
    "learner=own",
]
SECONDS = 60
"""An input that takes longer than this before anything is trained counts as a fault."""


class TrainingBegins(BaseException):
    """Everything was checked; what comes next is the training of theta_0."""


def keys(config: dict, path: str = "") -> Iterator[str]:
    """The full keys of a configuration, those of groups as well as those of single settings."""
    for key, value in config.items():
        yield path + key
        if isinstance(value, dict):
            yield from keys(value, f"{path}{key}.")


KEYS = {door: sorted(keys(composed(door))) for door in DOORS}
NUMBERS = st.sampled_from(
    ["0", "-1", "1", "3", "7", "1e9", "1000000000000", "-0.0", "0.5", "1.5", "nan", "inf", "-inf", "1e400", "0x10"]
)
WORDS = st.sampled_from(
    [
        *(
            "null",
            "true",
            "false",
            "no",
            "on",
            "''",
            '""',
            "~",
            "???",
            "${seed}",
            "${nothing}",
            "${oc.env:HOME}",
            "a b",
        ),
        *("auto", "cpu", "cuda", "dev", "random", "[]", "[null]", "[[1]]", "[1,2,3]", "{}", "{a: 1}", "{1: {2: 3}}"),
        *("../../x", "/proc/1/x", "/dev/null/x", "~/x", "ü", "x" * 5000, "%s", "{0}", "\t", "[bold]x", "a=b", "1,2"),
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = NUMBERS | WORDS | TEXT


def overrides(door: str) -> st.SearchStrategy[list[str]]:
    """Lists of one to three overrides: settings with values that may not suit them, other choices, and plain text."""
    key = st.sampled_from(KEYS[door])
    plain = st.builds("{}={}".format, key, NUMBERS | WORDS)
    odd = st.builds("{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), key, VALUES) | TEXT
    return st.lists(st.one_of(plain, plain, plain, st.sampled_from(CHOICES), odd), min_size=1, max_size=3)


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the block after some seconds."""

    def late(*_: object) -> None:
        raise TimeoutError(f"nothing after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """An empty working directory, a cache of its own, and a theta_0 that is never trained."""
    place = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("RALSEG_CACHE", str(tmp_path_factory.mktemp("cache")))

        def begin(*_: object) -> None:
            raise TrainingBegins

        patch.setattr(World, "theta0", begin)
        yield place


def goes_through(door: str, overrides: list[str]) -> None:
    """Raises AssertionError unless the door takes the overrides or refuses them in one line."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), at_most(SECONDS):
        try:
            status = DOORS[door]([*SMALL, *overrides])
        except TrainingBegins:
            return
    if status == 0:
        assert {"-h", "--help"} & set(overrides)
        return
    lines = said.getvalue().splitlines()
    assert status == 2
    assert len(lines) == 1, lines
    assert "Error" not in lines[0].split(":")[0]


@pytest.mark.parametrize("door", DOORS)
def test_overrides(workplace, door):
    @settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", 15)),
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=True,
    )
    @given(overrides(door))
    def one(chosen):
        goes_through(door, chosen)

    one()
