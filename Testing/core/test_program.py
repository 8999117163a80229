"""The program's name, version and the one command that stands for all."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from model_core import __main__ as door
from model_core.program import PROGRAM_VERSION

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "model_core", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def settings():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_package_takes_its_version_from_the_program():
    module, _, name = settings()["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert settings()["project"]["dynamic"] == ["version"]
    assert getattr(importlib.import_module(module), name) is PROGRAM_VERSION


def test_the_command_of_the_package_is_this_door():
    assert settings()["project"]["scripts"] == {"infantbrainseg": f"{door.__name__}:{door.main.__name__}"}


def test_every_file_that_is_a_command_stands_behind_the_door():
    files = (REPOSITORY / "model_core").glob("*.py")
    commands = {path.stem for path in files if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    assert commands - {"__main__"} == set(door.COMMANDS)


def test_a_command_gets_its_arguments_and_its_exit_status_comes_back(tmp_path):
    ended = run("evaluate", "--prediction", str(tmp_path / "gone.nii"), "--reference", str(tmp_path / "gone.nii"))
    assert ended.returncode == 1
    assert "gone.nii" in ended.stderr
    assert run("make-weights", "--help").stdout.startswith("usage: make_weights.py")


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["dance"], 2), (["--help"], 0)])
def test_the_door_alone_says_which_commands_there_are(arguments, status):
    ended = run(*arguments)
    assert ended.returncode == status
    assert "segment,evaluate,train" in ended.stdout + ended.stderr
