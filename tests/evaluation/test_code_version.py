import subprocess

from ralseg.evaluation import readings


def test_results_are_no_change_of_the_code(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@t")
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True
        )

    code, log = tmp_path / "evaluation/readings.py", tmp_path / "results/test_readings.csv"
    for file in (code, log):
        file.parent.mkdir()
        file.write_text("first\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(readings, "__file__", str(code))
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert readings.code_version() == commit
    log.write_text("first\nsecond\n")
    assert readings.code_version() == commit
    code.write_text("second\n")
    assert readings.code_version() == f"{commit}+changes"


def test_outside_a_checkout_it_is_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(readings, "__file__", str(tmp_path / "evaluation/readings.py"))
    assert readings.code_version().startswith("v")
