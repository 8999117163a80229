"""Stand-in for slicer.packaging: looks at what is installed, records what would be installed, installs nothing.

A test changes what the user's Slicer holds with `pretend_missing`, and reads `calls`.
"""

import importlib.metadata
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pretend_missing: set[str] = set()  # distributions that shall count as not installed
calls: list[tuple[str, list[str]]] = []  # ("pip_install", ["nibabel>=5"]), ...
install_error: Exception | None = None  # what the next installation raises


def load_requirements(path: str | Path) -> list[Requirement]:
    """Return the requirements of a file; pip's options are passed over, a comment behind a requirement is an error."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    project = tomllib.loads(Path(path).read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in project.get("dependencies", [])]


def _as_requirements(requirements: Any) -> list[Requirement]:
    if isinstance(requirements, str):
        requirements = shlex.split(requirements)
    elif isinstance(requirements, Requirement):
        requirements = [requirements]
    return [r if isinstance(r, Requirement) else Requirement(r) for r in requirements]


def pip_check(req: Any, _seen: set[tuple[str, frozenset[str]]] | None = None) -> bool:
    """Return whether every requirement is installed in a version that fits."""
    return all(_is_installed(requirement) for requirement in _as_requirements(req))


def _is_installed(requirement: Requirement) -> bool:
    name = canonicalize_name(requirement.name)
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    if name in {canonicalize_name(missing) for missing in pretend_missing}:
        return False
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return version in requirement.specifier


def isPipInstallInProgress() -> bool:
    return False


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Ask the user and record an installation of what is missing.

    Raises:
        RuntimeError: the user said no.
    """
    missing = [str(r) for r in _as_requirements(requirements) if not pip_check(r)]
    calls.append(("pip_ensure", missing))
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    question = f"{requester or 'A module'} needs Python packages: {', '.join(missing)}"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints=constraints, skip_packages=skip_packages, requester=requester)


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    wanted = shlex.split(requirements) if isinstance(requirements, str) else list(requirements)
    calls.append(("pip_install", wanted))
    if install_error is not None:
        raise install_error
    for requirement in wanted:
        pretend_missing.discard(Requirement(requirement).name)
    if not blocking and completedCallback is not None:
        completedCallback(0)
    return [] if skip_packages else None


def pip_uninstall(
    requirements: str | list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    calls.append(("pip_uninstall", shlex.split(requirements) if isinstance(requirements, str) else list(requirements)))
