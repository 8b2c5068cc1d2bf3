import sys

import numpy as np
import pytest

from ralseg.agents.acquisitions import FixedPolicy, make, names, parse
from ralseg.evaluation.policies import make_policies
from ralseg.foundation import RalsegError

MODULE = """
from dataclasses import dataclass
from ralseg.agents.acquisitions import Scored

@dataclass(frozen=True, kw_only=True)
class Rightmost(Scored):
    name = "rightmost"
    sign: float = 1.0

    def score(self, candidates):
        return self.sign * candidates.boxes[:, 1]

class NoAcquisition:
    name = "nothing"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with a module and such entry points; nothing of it is left after the test."""

    def install(**entries):
        (tmp_path / "other_package.py").write_text(MODULE)
        info = tmp_path / "other_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[ralseg.acquisitions]", *lines]) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("other_package", None)


def test_an_acquisition_of_another_package_is_one_of_ours(install, hand_made, offered):
    before = names()
    install(rightmost="other_package:Rightmost")
    assert names() == (*before, "rightmost")
    game = hand_made({"none": np.zeros(4)}, boxes=[[0, 3, 1, 4], [0, 9, 1, 10], [0, 1, 1, 2], [0, 5, 1, 6]])
    for acquisition, expected in [
        (make("rightmost"), [1, 3]),
        (make("rightmost", sign=-1.0), [2, 0]),
        (parse({"rightmost": {"sign": -1.0}}), [2, 0]),
        (make("stages", stages=[{"by": "rightmost", "share": 0.5}, {"by": {"rightmost": {"sign": -1.0}}}]), [3, 1]),
    ]:
        chosen = acquisition.select(offered(game, acquisition), 2, np.random.default_rng(0))
        assert chosen.tolist() == expected
    with pytest.raises(RalsegError, match=r"rightmost\.side is unknown"):
        make("rightmost", side=1)


def test_it_can_be_named_on_the_command_line(install):
    install(rightmost="other_package:Rightmost")
    first, second = make_policies(["random", "rightmost"])
    assert (first.name, second.name) == ("random", "rightmost")
    assert isinstance(second.policy, FixedPolicy) and second.policy.acquisition == make("rightmost")
    assert "rightmost" in [entry.name for entry in make_policies("all")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "missing_package:Broken",
            r"cannot be loaded \(ModuleNotFoundError: No module named 'missing_package'\)",
        ),
        ("other_package:Broken", r"cannot be loaded \(AttributeError: .*has no attribute 'Broken'\); fix"),
        ("other_package:NoAcquisition", "is not a class derived from Acquisition with name = 'broken'; fix"),
        ("other_package:Rightmost", "is not a class derived from Acquisition with name = 'broken'; fix"),
    ],
)
def test_a_broken_one_is_one_clear_line_and_harms_no_other(install, value, message):
    install(broken=value, rightmost="other_package:Rightmost")
    assert {"broken", "rightmost"} < set(names())
    assert make("rightmost").name == "rightmost"
    with pytest.raises(RalsegError, match=f"^acquisition 'broken': the entry point {value} of other-package {message}"):
        make("broken")


@pytest.mark.parametrize("name", ["entropy", "stages", "two_stage_edald"])
def test_our_names_are_not_replaced(install, name):
    install(**{name: "other_package:Rightmost"})
    with pytest.raises(
        RalsegError, match=f"^acquisition '{name}': the entry point .* of other-package: the name is taken"
    ):
        names()
