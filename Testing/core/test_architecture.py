"""The rooms of model_core and the imports between them are those of the table in docs/architecture.md."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE, PANEL = ROOT / "model_core", ROOT / "InfantBrainSeg"
GROUND = {path.stem for path in CORE.glob("*.py")} - {"__init__", "weights"}
COMMANDS = {path.stem for path in CORE.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
FOR_THE_PANEL = {"model_core.service.messages", "model_core.system.environment"}
NOT_IN_SLICER = {"torch", "nibabel", "matplotlib", "safetensors", "tqdm"}


def table() -> dict[str, set[str]]:
    """What each room may import, as the table has it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .+ \| ([\w, ]*) ?\|$", text, flags=re.MULTILINE)
    return {room: {name.strip() for name in imports.split(",")} - {""} for room, imports in rows}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "model_core":
                names |= {f"model_core.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str:
    """The room of a module of model_core: a package, the ground, or what stands at the door."""
    name = module.split(".")[1]
    if name in COMMANDS:
        return f"the command {name}"
    return "ground" if name in GROUND else name


def imports_between_rooms() -> list[tuple[str, str, str]]:
    """(file, its room, imported room) of each import from one room into another."""
    found = []
    for path in sorted(CORE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module == "model_core.__init__":
            continue
        for other in imported(path):
            if other.startswith("model_core.") and room_of(other) != room_of(module):
                found.append((module, room_of(module), room_of(other)))
    return found


def test_each_room_imports_only_what_the_table_lists():
    allowed = table()
    against = [
        f"{module} imports {other}"
        for module, room, other in imports_between_rooms()
        if not room.startswith("the command") and other not in allowed[room]
    ]
    assert not against


def test_the_table_lists_every_room_and_no_import_that_nobody_needs():
    rooms = {path.parent.name for path in CORE.glob("*/__init__.py")} | {"ground", "weights"}
    assert set(table()) == rooms
    needed = {(room, other) for _, room, other in imports_between_rooms()}
    unused = {(room, other) for room, others in table().items() for other in others} - needed
    assert not {(room, other) for room, other in unused if other not in ("ground", "system")}


def test_no_import_goes_round_in_a_circle():
    below = table()
    while leaves := [room for room, others in below.items() if not others & below.keys()]:
        below = {room: others for room, others in below.items() if room not in leaves}
    assert not below


def test_nothing_imports_a_command():
    against = [f"{module} imports {other}" for module, _, other in imports_between_rooms() if other.startswith("the ")]
    assert not against


def test_the_ground_needs_numpy_at_most():
    for name in GROUND - COMMANDS:
        outside = {module.split(".")[0] for module in imported(CORE / f"{name}.py")}
        assert outside <= sys.stdlib_module_names | {"numpy", "model_core"}, name


@pytest.mark.parametrize("forbidden", ["slicer", "qt", "ctk", "vtk", "InfantBrainSeg", "InfantBrainSegLib", "Testing"])
def test_the_model_core_imports_nothing_of_slicer(forbidden):
    assert not [path for path in CORE.rglob("*.py") for name in imported(path) if name.split(".")[0] == forbidden]


def test_slicers_process_imports_the_ground_and_two_modules_more():
    for path in PANEL.rglob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            assert top not in NOT_IN_SLICER, f"{path.name} imports {name}"
            if top == "model_core" and name != "model_core":
                assert room_of(name) == "ground" or name in FOR_THE_PANEL, f"{path.name} imports {name}"


def test_no_room_hides_a_command():
    assert not {path.parent.name for path in CORE.glob("*/__init__.py")} & COMMANDS


def describe() -> str:
    """Count rooms, files and imports: what ``python Testing/core/test_architecture.py`` prints."""
    files = sorted(CORE.rglob("*.py"))
    between = imports_between_rooms()
    arrows = {(room, other) for _, room, other in between}
    imports = [name for path in files for name in imported(path) if name.startswith("model_core.")]
    return (
        f"{len(files)} files in {len(table()) - 2} packages, the ground and weights.py; {len(arrows)} arrows between "
        f"rooms and commands, {len(between)} imports across rooms, {len(imports)} in all"
    )


if __name__ == "__main__":
    print(describe())
