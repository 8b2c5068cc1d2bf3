import ast

import pytest

from ralseg.tools.mutations import mutated, mutations


def texts(source):
    """Every mutant of a module, as source."""
    return [ast.unparse(mutated(source, mutation)) for mutation in mutations(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a <= b", "a > b"]),
        ("0 <= a < b", ["0 < a < b", "0 > a < b", "0 <= a <= b", "0 <= a > b", "1 <= a < b"]),
        ("a - b", ["a + b"]),
        ("a += b", ["a -= b"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("-a", ["a"]),
        ("a = True", ["a = False"]),
        ("a = 0.5", ["a = 1.5"]),
        ("b if a else c", ["b if not a else c"]),
        ("a[b:c]", ["a[:c]", "a[b:]"]),
        ("a = np.maximum", ["a = np.minimum"]),
        ("f(a, b=c)", ["pass", "f(a)"]),
        ("a = f(b, c)", ["a = f(b)"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("raise E(1 < 2)", ["pass"]),
        ("del a", ["pass"]),
    ],
)
def test_mutations_of_a_line(source, expected):
    assert texts(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""1 < 2."""',
        "import a",
        "def f():\n    return None",
        "f = f'{1 - 2}'",
        "def f(a: 1 - 2) -> 1: ...",
        "a: list[1] = b",
        "@f(1)\nclass A: ...",
        "'a'",
    ],
)
def test_what_no_test_should_check_is_left_alone(source):
    assert mutations(source) == []


def test_a_mutation_says_where_it_is_and_what_it_does():
    source = "a = 1\n\ndef f(b):\n    return b > a\n"
    found = [(mutation.line, mutation.what) for mutation in mutations(source)]
    assert found[0] == (1, "1 -> 2") and (4, "b > a -> b >= a") in found
    assert len(set(texts(source))) == len(found) == 4
    assert source not in texts(source)
