"""The Slicer extension configures, packages every file that it needs, and runs from where it is installed."""

import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "InfantBrainSeg"
FAKE_SLICER = Path(__file__).with_name("fake_slicer")
INSTALL_FOLDER = "lib/Slicer-5.12/qt-scripted-modules"  # as fake_slicer/SlicerConfig.cmake says
LARGEST_REPOSITORY = 100 * 1000**2  # bytes; Slicer's index of extensions takes no larger ones


def cmake(*arguments):
    """Run the environment's CMake, else the system's, and return the finished process."""
    program = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    assert program, "cmake is missing; run: python -m pip install -c constraints.txt -e '.[test]'"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


def configure(source, build, *options):
    toolchain = FAKE_SLICER / "no_compiler.cmake"
    return cmake(
        "-S", source, "-B", build, f"-DSlicer_DIR={FAKE_SLICER}", f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", *options
    )


def recorded(build):
    """Return what the stand-in was told: (key, values) in order."""
    lines = (build / "recorded.txt").read_text(encoding="utf-8").splitlines()
    return [(line.split("\t")[0], line.split("\t")[1:]) for line in lines]


def description(build):
    return {key: values[0] for key, values in recorded(build) if key.startswith("EXTENSION_")}


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """The extension, configured, built and installed."""
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    for run in (configure(REPOSITORY, build), cmake("--build", build), cmake("--install", build, "--prefix", prefix)):
        assert run.returncode == 0, run.stdout + run.stderr
    return SimpleNamespace(build=build, modules=prefix / INSTALL_FOLDER)


def files(folder, pattern="*"):
    """Return the paths of a folder's files below it, without byte code."""
    found = (path.relative_to(folder) for path in folder.rglob(pattern) if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def test_every_file_that_the_extension_needs_is_packaged_and_no_other(extension):
    module = {name for name in files(MODULE, "*.py") if not name.startswith("Testing/")}
    module_resources = {f"Resources/{name}" for name in files(MODULE / "Resources") if not name.endswith(".svg")}
    core = {f"model_core/{name}" for name in files(REPOSITORY / "model_core", "*.py")}
    templates = {
        f"model_core/reports/templates/{name}" for name in files(REPOSITORY / "model_core" / "reports" / "templates")
    }
    weights_and_sample = {
        f"Resources/{folder}/{name}"
        for folder in ("weights", "SampleSubject")
        for name in files(REPOSITORY / "Resources" / folder)
    }
    cards = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "Resources").glob("WEIGHTS*.md")}
    documents = {"LICENSE", "Resources/README.md"} | cards
    assert "InfantBrainSeg.py" in module
    assert files(extension.modules) == module | module_resources | core | templates | weights_and_sample | documents


def test_the_lists_are_in_order_and_name_each_file_once(extension):
    lists = [values for key, values in recorded(extension.build) if key in ("SCRIPTS", "RESOURCES")]
    for names in lists:
        assert names == sorted(names)
    every = [name for names in lists for name in names]
    assert len(every) == len(set(every))


def test_each_self_test_runs_in_slicer_and_so_does_slicers_generic_one(extension):
    record = recorded(extension.build)
    registered = {values[0] for key, values in record if key == "SELF_TEST"}
    assert registered == {path.name for path in (MODULE / "Testing").glob("*Test.py")} != set()
    assert ("GENERIC_TESTS", ["InfantBrainSeg"]) in record


def test_the_installed_core_imports_beside_the_module_and_finds_its_weights(extension, tmp_path):
    check = (
        "import sys; sys.path.insert(0, sys.argv[1]); import model_core.segment as core; print(core.__file__); "
        "from model_core.model_card import DEFAULT_WEIGHTS; assert DEFAULT_WEIGHTS.is_file(), DEFAULT_WEIGHTS"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", check, extension.modules], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()) == extension.modules / "model_core" / "segment.py"


def test_the_extension_describes_itself_and_ends_as_slicer_asks(extension):
    told = description(extension.build)
    assert told["EXTENSION_NAME"] == "InfantBrainSeg"
    assert told["EXTENSION_CATEGORY"] == "Segmentation"
    assert told["EXTENSION_DEPENDS"] == "PyTorch"
    assert told["EXTENSION_RECOMMENDS"] == "HDBrainExtraction"
    assert Path(told["EXTENSION_LICENSE_FILE"]) == REPOSITORY / "LICENSE"
    included = [values[0] for key, values in recorded(extension.build) if key == "INCLUDED"]
    assert included == ["generate_config", "cpack"]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("slicerMacroBuildScriptedModule(NAME X ICON X.png SCRIPTS X.py)", "unknown arguments ICON;X.png"),
        ("slicerMacroBuildScriptedModule(NAME X SCRIPTS Y.py)", "Y.py is not a file below"),
        ("slicer_add_python_unittest(SCRIPT X.py ARGS 1)", "unknown arguments ARGS;1"),
        ("ctkMacroCompilePythonScript(TARGET_NAME X SCRIPTS X.py)", "DESTINATION_DIR is missing"),
    ],
)
def test_the_stand_in_refuses_what_slicer_does_not_take(tmp_path, call, complaint):
    (tmp_path / "X.py").touch()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(X)\nfind_package(Slicer REQUIRED)\n"
        f"include(${{Slicer_USE_FILE}})\n{call}\n"
    )
    run = configure(tmp_path, tmp_path / "build")
    assert run.returncode != 0
    assert complaint in " ".join(run.stderr.split())


def test_the_repository_is_small_enough_for_slicers_index():
    ignored = [line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().split()]
    sizes = {
        path: path.stat().st_size
        for top in REPOSITORY.iterdir()
        if not top.name.startswith(".")  # .git, environments, caches
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file()
        and not any(fnmatch(part, entry) for part in path.relative_to(REPOSITORY).parts for entry in ignored)
    }
    assert REPOSITORY / "Resources/weights/fast_unet.safetensors" in sizes
    assert sum(sizes.values()) < LARGEST_REPOSITORY
