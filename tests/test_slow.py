import ast
from pathlib import Path

TESTS = Path(__file__).parent


def names_in(node, prefix=""):
    """The names of all tests below a node: `function`, or `Class::function`."""
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield from names_in(child, f"{prefix}{child.name}::")
        elif isinstance(child, ast.FunctionDef):
            yield prefix + child.name


def test_every_line_of_the_list_names_a_test():
    listed = [line for line in (TESTS / "slow.txt").read_text().splitlines() if not line.startswith("#")]
    assert listed and listed == sorted(set(listed))
    for line in listed:
        file, _, name = line.partition("::")
        assert (TESTS / file).is_file(), f"slow.txt: {line}: there is no such file"
        tree = ast.parse((TESTS / file).read_text())
        inherited = name.partition("::")[2]
        names = set(names_in(tree))
        # A class may inherit its tests from another one of the file.
        assert name in names or inherited in {n.partition("::")[2] for n in names} - {""}, f"slow.txt: no test {line}"


def test_a_listed_test_is_marked(request):
    assert request.node.get_closest_marker("slow")


def test_another_is_not(request):
    assert not request.node.get_closest_marker("slow")
