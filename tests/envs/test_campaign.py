import json
import subprocess
import sys

import numpy as np
import pytest

from ralseg.envs import GroundTruth, RecordsFile, RegionSelectionEnv, World
from ralseg.envs.records import decoded, encoded
from ralseg.foundation import RalsegError
from ralseg.segmentation.devices import single_thread

GAMES = ("frozen", "partial", "full")


class Late:
    """Answers each unit one step after it was asked for the first time, if it is among those that it knows."""

    def __init__(self, store, knows=lambda unit: True):
        self.truth, self.knows, self.seen = GroundTruth(store), knows, set()

    def answer(self, units):
        old, self.seen = self.seen, self.seen | set(units)
        labels = zip(units, self.truth.answer(units), strict=True)
        return [label if unit in old and self.knows(unit) else None for unit, label in labels]


def first_open(game):
    mask = game.offer.mask
    return np.where(mask.any(1), mask.argmax(1), -1)


def trace(game):
    """All that a player could see of a game, and the weights behind it."""
    miou = game.evaluate_reward()
    view = game.view(game.credit_reducers)
    observation, credit = view.observation, game.credit(view)
    return {
        **observation,
        **credit,
        "miou": miou,
        "ledger": json.dumps(game.ledger.to_dict()),
        "counts": game.bought_counts,
        **{f"weight {name}": value.numpy() for name, value in game.learner.weights().items()},
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def play(game, steps):
    """Look, choose and step as an env does."""
    for _ in range(steps):
        game.evaluate_reward()
        _ = game.view(game.credit_reducers).observation
        game.step(first_open(game))


@pytest.mark.parametrize("runs", [[[3, 1], [255, 2], [0, 3]], [[7, 6]]])
def test_run_lengths(runs):
    label = decoded(runs, 2, 3)
    assert label.ravel().tolist() == [value for value, count in runs for _ in range(count)] and label.dtype == np.uint8
    assert encoded(label) == runs
    with pytest.raises(RalsegError, match="a recorded label has 6 pixels, not 3 x 3"):
        decoded(runs, 3, 3)


def test_any_label_survives_its_run_lengths():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (5, 7), (24, 32)):
        label = rng.integers(0, 3, size, np.uint8)
        np.testing.assert_array_equal(decoded(json.loads(json.dumps(encoded(label))), *size), label)


def test_records_on_disk_survive_a_process_that_is_killed_while_it_writes(tmp_path):
    file = RecordsFile(tmp_path / "games" / "records.jsonl")
    assert file.read() == []
    records = [{"move": "begin", "seed": 3}, {"move": "learn"}]
    for record in records:
        file.append(record)
    assert file.read() == records
    with open(file.path, "ab") as half:
        half.write(b'{"move": "ask", "uni')
    assert file.read() == records
    file.append({"move": "learn"})
    assert RecordsFile(file.path).read() == [*records, {"move": "learn"}]
    file.path.write_bytes(file.path.read_bytes().replace(b"learn", b'le"arn', 1))
    with pytest.raises(RalsegError, match=r"records.jsonl, line 2: not a record"):
        file.read()


@pytest.mark.parametrize(
    ("cut", "features"),
    [(cut, "transferable") for cut in GAMES] + [("partial", "embedding"), ("partial", "compact")],
)
def test_a_restored_game_continues_bit_for_bit(configured, cut, features):
    config = configured(f"game={cut}", f"features={features}", "game.budget=12")
    first = World(config).game("train", credit=True, reference=True)
    first.reset(7)
    play(first, 2)
    records = json.loads(json.dumps(first.campaign.records))
    second = World(config).game("train", credit=True, reference=True)
    second.reset(1)
    second.restore(records)
    assert_same(trace(second), trace(first))
    for game in (first, second):
        play(game, 1)
    assert_same(trace(second), trace(first))
    assert second.campaign.records == first.campaign.records


def test_an_env_takes_up_an_episode_from_its_records(world):
    first, second = (RegionSelectionEnv(world.game("train", credit=True)) for _ in range(2))
    first.reset(seed=3)
    _, _, _, _, info = first.step(np.zeros(3, np.int64))
    _, info_again = second.reset(options={"records": first.game.campaign.records})
    assert info_again["miou"] == info["miou"] and info_again["ledger"] == info["ledger"]
    here, there = (env.step(np.ones(3, np.int64)) for env in (first, second))
    assert_same(here[0], there[0])
    assert here[1:3] == there[1:3]
    np.testing.assert_array_equal(here[4]["candidate_credit"], there[4]["candidate_credit"])


def answer_and_go_on(config, path, found):
    """Continue a game in another process: the oracle answers now, and `found` gets the outcome."""
    single_thread()
    game = World(config).game("train", credit=True)
    game.restore(RecordsFile(path).read())
    assert len(game.campaign.pending) == 3
    game.collect()
    game.learn()
    play(game, 1)
    np.savez(found, **trace(game))


def test_an_oracle_may_answer_after_the_process_has_ended(configured, tmp_path):
    for cut in GAMES:
        config = configured(f"game={cut}", "features=transferable", "game.budget=12")
        uninterrupted = World(config).game("train", credit=True)
        uninterrupted.reset(5)
        play(uninterrupted, 3)
        asking = World(config).game("train", credit=True)
        asking.campaign.on_record = RecordsFile(tmp_path / cut).append
        asking.reset(5)
        play(asking, 1)
        asking.evaluate_reward()
        _ = asking.view(asking.credit_reducers).observation
        asking.ask(first_open(asking))
        given = config, tmp_path / cut, tmp_path / f"{cut}.npz"
        if cut == "partial":
            code = (
                "import json, sys; from importlib.util import module_from_spec, spec_from_file_location as spec;"
                "file = spec('other', sys.argv[1]); module = module_from_spec(file); file.loader.exec_module(module);"
                "module.answer_and_go_on(json.loads(sys.argv[2]), *sys.argv[3:])"
            )
            command = [sys.executable, "-c", code, __file__, json.dumps(config), *map(str, given[1:])]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        else:
            # A world of its own knows as little of the first one as a process of its own.
            answer_and_go_on(*given)
        assert_same(dict(np.load(given[2])), trace(uninterrupted))


def test_late_answers_are_learned_from_when_they_come(world):
    game = world.game("train")
    game.oracle = Late(world.store)
    game.reset(2)
    before = game.learner.weights()
    turn = game.step(first_open(game))
    asked = game.campaign.pending
    assert len(turn.units) == 0 and turn.refused == 0 and float(turn.loss) == 0 and len(asked) == 3
    assert all((value == before[name]).all() for name, value in game.learner.weights().items())
    assert game.ledger.units == 0 and not np.isin(asked, game.offer.units).any()
    turn = game.step(np.full(3, -1))
    assert turn.units.tolist() == asked and game.ledger.units == 3 and game.campaign.pending == []
    assert any((value != before[name]).any() for name, value in game.learner.weights().items())


def test_partly_and_never_answered(world):
    """The budget reserves the price of pending units; units that are never answered end no game and are never paid."""
    game = world.game("train")
    game.oracle = Late(world.store, knows=lambda unit: unit[1] == 0)
    game.reset(2)
    steps = 0
    while not game.over:
        game.step(first_open(game))
        steps += 1
        assert steps < 20 and game.ledger.units + len(game.campaign.pending) <= 8
    game.step(np.full(3, -1))
    pending = game.pool.records(np.array(game.campaign.pending))
    answered = game.pool.records(game.pool.bought)
    assert pending and all(y > 0 for _, y, *_ in pending)
    assert answered and all(y == 0 for _, y, *_ in answered)
    assert game.ledger.units == len(answered) < 8
    game.campaign.withdraw(np.array(game.campaign.pending))
    game.learn()
    assert not game.over and game.campaign.pending == []
    restored = world.game("train")
    restored.restore(game.campaign.records)
    assert_same(trace(restored), trace(game))


def test_a_correction_is_a_record_and_is_learned_from(world):
    game, as_if = world.game("train"), world.game("train")
    for one in (game, as_if):
        one.reset(4)
    asked = game.ask(first_open(game))
    truth = GroundTruth(world.store).answer(game.pool.records(asked))
    wrong = [np.full_like(truth[0], 2), *truth[1:]]
    game.answer(asked, wrong)
    clicks, paid = game.ledger.clicks, game.ledger.units
    game.campaign.correct(asked[:1], truth[:1])
    as_if.answer(as_if.ask(first_open(as_if)), truth)
    np.testing.assert_array_equal(game.bought_counts, as_if.bought_counts)
    np.testing.assert_array_equal(game.campaign.unit_counts, as_if.campaign.unit_counts)
    np.testing.assert_array_equal(game.labels.class_counts, as_if.labels.class_counts)
    image = world.store.index(game.pool.records(asked)[0][0])
    np.testing.assert_array_equal(game.labels.label(image), as_if.labels.label(image))
    np.testing.assert_array_equal(game.labels.targets(image, (12, 16)), as_if.labels.targets(image, (12, 16)))
    assert (game.ledger.clicks, game.ledger.units) == (clicks, paid) and len(game.campaign.fresh) == 4
    with pytest.raises(RalsegError, match="do not fit box"):
        game.campaign.correct(asked[:2], [wrong[0], truth[1][1:]])
    np.testing.assert_array_equal(game.labels.label(image), as_if.labels.label(image))
    assert len(game.campaign.fresh) == 4
    game.learn()
    restored = world.game("train")
    restored.restore(game.campaign.records)
    assert_same(trace(restored), trace(game))


def test_moves_that_cannot_be_made_are_refused_and_change_nothing(world):
    game = world.game("train")
    game.reset(0)
    asked = game.ask(first_open(game))
    labels = GroundTruth(world.store).answer(game.pool.records(asked))
    before = game.campaign.records
    other = np.setdiff1d(game.offer.units[game.offer.units >= 0], asked)[:1]
    for units, given, message in (
        (other, labels[:1], "are not all pending"),
        (asked[[0, 0]], [labels[0], labels[0]], "are not all pending"),
        (asked, [labels[0][1:], *labels[1:]], "do not fit box"),
        (asked, [*labels[:2], np.full_like(labels[2], 77)], "label id 77"),
        (asked, [*labels[:2], labels[2].astype(np.int64)], "labels are int64; give uint8 ids"),
    ):
        with pytest.raises(RalsegError, match=message):
            game.answer(units, given)
    with pytest.raises(RalsegError, match="has no label to correct"):
        game.campaign.correct(asked[:1], labels[:1])
    assert game.campaign.records == before and game.ledger.units == 0 and game.bought_counts.sum() == 0
    for records, message in (
        ([], "do not begin a game"),
        (before[1:], "do not begin a game"),
        ([before[0], {"move": "sell"}], "an unknown move 'sell'"),
        ([before[0], {"move": "ask", "units": [["nowhere", 0, 0, 24, 32]]}], "is not a unit of this pool"),
    ):
        with pytest.raises(RalsegError, match=message):
            game.restore(records)
