import pytest

from ralseg.foundation import Kept


@pytest.mark.parametrize("replace", [False, True])
def test_values_are_kept_within_the_budget(replace):
    kept = Kept(10, replace=replace)
    assert kept.get("a") is None
    assert kept.put("a", "A", 4) and kept.put("b", "B", 6)
    assert kept.get("a") == "A" and kept.get("b") == "B"
    assert not kept.put("c", "C", 11)
    assert len(kept) == 2
    kept.drop("a")
    kept.drop("a")
    assert kept.get("a") is None
    assert kept.put("d", "D", 4)
    assert not kept.put("e", "E", 11) and len(kept) == 2


def test_the_first_to_come_stay():
    kept = Kept(10, replace=False)
    kept.put("a", "A", 6)
    assert not kept.put("b", "B", 5)
    assert kept.put("c", "C", 4)
    assert kept.get("a") == "A" and kept.get("b") is None


def test_the_least_recently_used_make_place():
    kept = Kept(10, replace=True)
    for key in "abc":
        kept.put(key, key.upper(), 3)
    kept.get("a")
    assert kept.put("d", "D", 4)
    assert [kept.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert kept.put("e", "E", 10)
    assert len(kept) == 1
