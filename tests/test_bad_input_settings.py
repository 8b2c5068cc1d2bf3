"""Bad settings at the two doors: one clear line, exit status 2, and nothing written into the run folder."""

import ast
import re
from pathlib import Path

import pytest

import ralseg
from ralseg.configs import composed
from ralseg.configs.overrides import groups, text_settings
from ralseg.foundation import RalsegError

SMALL = [
    "dataset.images=40",
    "dataset.size=[96,128]",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}",
    "network=small_fpn",
]
ANY = {
    "choice that does not exist": ("game=partail", "game=partail is unknown; .* (did you mean game=partial?)"),
    "choice that is a number": ("dataset=3", "dataset=3 is unknown; choose from a2d2, ade_bedroom, camvid, camvid_to_"),
    "choice that is a path": ("theta0=../state", "theta0=../state is unknown; choose from"),
    "choice of 5000 letters": ("network=" + "x" * 5000, "network=x.* is unknown; choose from"),
    "choice that is a list": ("network=[small_fpn]", "network=[small_fpn] is unknown; choose from"),
    "no equals sign": ("random", "'random' is not a setting; write group=choice or group.key=value, or ask --help"),
    "option": ("--multirun", "'--multirun' is not a setting; write group=choice"),
    "key that is none": ("=3", "'=3' is not a setting"),
    "removal": ("~game.slates", "'~game.slates' is not a setting"),
    "setting of Hydra": ("hydra.run.dir=x", "hydra.run.dir is Hydra's own setting"),
    "top-level setting that is none": ("+epochs=3", "epochs is not a setting; the top level has dataset"),
    "reference to nothing": ("game.slates=${nothing}", "game.slates: Interpolation key 'nothing' not found"),
    "number in place of a group": ("theta0.fit=3", "theta0.fit is 3; it must be a group of steps"),
    "number in place of a list": ("network.widths=3", "network.widths=3 must be a list of 5 values"),
    "short list": ("network.widths=[1,2]", "network.widths=[1, 2] must be a list of 5 values"),
    "words in a list of numbers": ("network.widths=[a,1,1,1,1]", "network.widths[0]='a' must be a whole number"),
    "no channels": ("network.pyramid=0", "network.pyramid=0 is out of range; it must be 1 to 4096"),
    "share above 1": ("network.dropout=2", "network.dropout=2 is out of range; it must be at least 0 and below 1"),
    "text in place of a number": ("seed=first", "seed='first' must be a whole number"),
    "fraction in place of a whole number": ("seed=1.5", "seed=1.5 must be a whole number"),
    "number that is none": ("input_scale=nan", "input_scale=nan is out of range; it must be above 0 and at most 1"),
    "endless number": ("theta0.fit.learning_rate=inf", "theta0.fit.learning_rate=inf is out of range"),
    "float in place of a count": ("dataset.images=1e9", "dataset.images=1000000000.0 must be a whole number"),
    "too few images": ("dataset.images=8", "dataset.images=8 is out of range; it must be 9 to 1e+06"),
    "images too large": (
        "dataset.size=[100000,100000]",
        "dataset.size[0]=100000 is out of range; it must be 60",
    ),
    "word in place of a switch": ("compile=maybe", "compile='maybe' must be true or false"),
    "unknown unit": (
        "game.unit=superpixel",
        "game.unit='superpixel' is unknown; give region, image, pixel, or a height",
    ),
    "unit without a width": ("game.unit=[24]", "game.unit=[24] is unknown"),
    "class that cannot be imported": ("network._target_=no.Such", "network._target_=no.Such cannot be found"),
    "class that is a number": ("learner._target_=3", "learner._target_=3 cannot be found"),
    "option that a class does not have": (
        "+network.depth=3",
        "network.depth is no option of .*which has widths, pyramid",
    ),
    "list that does not end": ("network.widths=[1,2", "network.widths='[1,2' must be a list of 5 values"),
    "run without a name": ("run=", "run='' names no folder"),
    "run that is null": ("run=null", "run=null names no folder; give one"),
    "run that is a list": ("run=[a]", "run=['a'] names no folder"),
}
EVALUATE = {
    "budget that is no list": (
        "budgets=8",
        "budgets=8 is not a list of numbers, 0 or more; give e.g. budgets=[240,480]",
    ),
    "negative budget": ("budgets=[-1]", "budgets=[-1] is not a list of numbers"),
    "policies that are no list": ("policies=3", "policies=3 is not a list of names"),
    "policies in the wrong brackets": ("policies={random: 3}", "policies={random: 3} does not fit"),
    "policies in two brackets": ("policies=[[random]]", "policies=[['random']] is not a list of names"),
    "policies that do not end": ("policies=[random", "policies=[random is not a list of names"),
    "only one that is not there": ("only=[entropi]", "only=['entropi'] is no list of names of policies; choose from ["),
    "only in two brackets": ("only=[[random]]", "only=[['random']] is no list of names of policies"),
    "only by a word": ("only=random", "only=random is no list of names of policies"),
    "only none": ("only=[]", "only=[] is no list of names of policies"),
    "split that is none": ("splits=[val]", "splits=['val'] is unknown; choose from [dev, test]"),
    "split that is a number": ("splits=0.5", "splits=0.5 is unknown"),
    "no draws": ("draws=0", "draws=0 is out of range; it is a whole number, 1 or more"),
    "fit that is a number": ("fit=1", "fit is 1; it must be a group of draws, supervised, options"),
    "setting of the other door": ("agent=ralseg", "agent is not a setting; the top level has"),
}
TRAIN = {
    "more streams than episodes": (
        "training.episodes=1",
        "training.streams=2 must be at most training.episodes=1; lower streams",
    ),
    "resume that is no switch": ("resume=maybe", "resume='maybe' must be true or false"),
    "budget of the comparison that is no list": (
        "comparison.budgets=4",
        "comparison.budgets=4 is not a list of numbers",
    ),
    "fit of the comparison that is a number": ("comparison.fit=0", "comparison.fit is 0; it must be a group"),
    "policies of the comparison that are no list": ("comparison.policies=3", "policies=3 is not a list of names"),
    "features that do not exist": ("features=embedings", "(did you mean features=embedding?)"),
}
CASES = [
    *((door, case) for door in ("train", "evaluate") for case in ANY),
    *(("evaluate", case) for case in EVALUATE),
    *(("train", case) for case in TRAIN),
]


@pytest.mark.parametrize(("door", "case"), CASES)
def test_bad_settings(refused, door, case):
    override, message = {**ANY, **EVALUATE, **TRAIN}[case]
    line = refused(door, *SMALL, override)
    assert all(part in line for part in message.split(".*")), line


@pytest.mark.parametrize(
    "name",
    [
        "2024",
        "0010",
        "1e3",
        "~/x",
        "a'b",
        'a"b',
        "a#b",
        "ü (1)",
        "a,b",
        "a=b",
        "{a}",
        "[b",
        "a\\b",
        "it's 5 % done",
        "a\\",
    ],
)
@pytest.mark.parametrize("key", ["run", "dataset.root", "theta0.file"])
def test_a_text_is_taken_as_it_is_typed(key, name):
    config = composed("train_agent", ["dataset=folder", "dataset.root=here", f"{key}={name}"])
    for part in key.split("."):
        config = config[part]
    assert config == name


@pytest.mark.parametrize(
    ("override", "value"),
    [("run='a b'", "a b"), ('why="a, b"', "a, b"), ("run=${device}", "cpu"), ("readings=null", None)],
)
def test_quotes_references_and_null_keep_their_meaning(override, value):
    assert composed("evaluate_policy", [override])[override.partition("=")[0]] == value


def test_numbers_and_lists_are_no_texts():
    config = composed(
        "train_agent", [*SMALL, "game.unit=[24,32]", "seed=7", "network.widths=[1,2,3,4,5]", "theta0.fit.steps=3"]
    )
    assert (config["game"]["unit"], config["seed"], config["network"]["widths"]) == ([24, 32], 7, [1, 2, 3, 4, 5])
    assert {"run", "device", "dataset.root", "protocol.path", "theta0.file", "readings", "why"} <= text_settings()
    assert not {"seed", "game.slates", "theta0.fit.steps", "resume"} & text_settings()


def settings_of(door):
    """The full key of every setting of every choice."""
    for group, choices in groups().items():
        for choice in choices:
            try:
                config = composed(door, [f"{group}={choice}"], complete=False)
            except RalsegError:
                continue  # a group of the other door
            yield from flat(config)


def flat(config, path=""):
    for key, value in config.items():
        yield path + key
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")


def test_messages_name_settings_that_there_are():
    """What looks like `group.key=` in a message must be a setting of a door."""
    known = {key for door in ("train_agent", "evaluate_policy") for key in settings_of(door)}
    named = re.compile(rf"\b((?:{'|'.join(groups())}|training|fit)\.[a-z_0-9]+(?:\.[a-z_0-9]+)*)=")
    found = {}
    for path in Path(ralseg.__file__).parent.glob("*/**/*.py"):
        if path.parts[-2] == "benchmarks":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RalsegError":
                text = "".join(
                    c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)
                )
                found |= dict.fromkeys(named.findall(text), f"{path}:{node.lineno}")
    assert len(found) > 20
    # What a choice's file need not name.
    open_settings = {"protocol.counts", "protocol.fractions", "protocol.path", "protocol.runs"}
    open_settings |= {"fit.options.train_batch_norm"}
    assert {key: place for key, place in found.items() if key not in known | open_settings} == {}
