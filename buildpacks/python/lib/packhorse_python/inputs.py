"""What an app's own files ask for. Reads files, changes nothing."""

import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .failure import LOCK, PYTHON, UNSUPPORTED, Failure

PIP_FILE = "pip, requirements.txt"
PIP_PROJECT = "pip, pyproject.toml"
UV = "uv, uv.lock"


@dataclass
class Inputs:
    """How to install, and everything in the app that the result depends on."""

    manager: str
    digest: str
    # Requirement lines that pip gets, where they come from pyproject.toml.
    requirements: list = field(default_factory=list)
    # Why an installed layer cannot stand for these files; empty when it can.
    unstable: str = ""
    # A file takes a value from a variable, which may be a secret.
    has_variables: bool = False
    notices: list = field(default_factory=list)


def read(app: Path, version: tuple) -> Inputs:
    """Decides how to install; `version` is the interpreter's (major, minor, patch)."""
    _check_wanted_python(app, version)
    if (app / "uv.lock").is_file():
        inputs = _uv(app)
        if (app / "requirements.txt").is_file():
            inputs.notices.append("uv.lock is used, requirements.txt is not")
        return inputs
    if (app / "requirements.txt").is_file():
        return _requirements(app)
    for name, tool, command in (
        ("poetry.lock", "Poetry", "poetry export --output requirements.txt"),
        ("Pipfile", "Pipenv", "pipenv requirements > requirements.txt"),
    ):
        if (app / name).exists():
            raise Failure(UNSUPPORTED, f"{name}: {tool} is not supported",
                          f"Commit a requirements.txt (`{command}`), or move to uv and commit its uv.lock.")
    if (app / "pyproject.toml").is_file():
        return _project(app, version)
    raise Failure(UNSUPPORTED, "setup.py alone does not say which packages to install",
                  "Add a requirements.txt; one with the line `.` installs the app itself.")


def _check_wanted_python(app, version):
    for name, pattern in ((".python-version", r"(?:cpython-|python-)?(\d+)\.(\d+)"), ("runtime.txt", r"python-(\d+)\.(\d+)")):
        path = app / name
        if not path.is_file():
            continue
        lines = [line.strip() for line in _text(path).splitlines() if line.strip() and not line.strip().startswith("#")]
        wanted = re.match(pattern, lines[0]) if lines else None
        if wanted and (int(wanted[1]), int(wanted[2])) != version[:2]:
            raise _other_python(f"{name} asks for Python {wanted[1]}.{wanted[2]}", version)


def _other_python(cause, version):
    here = ".".join(map(str, version))
    return Failure(PYTHON, f"{cause}, this builder has {here}",
                   f"Ask for {version[0]}.{version[1]}, or choose a builder with the other one (`\"stack\": \"heroku-24\"` in app.json).")


def _uv(app):
    if not (app / "pyproject.toml").is_file():
        raise Failure(LOCK, "uv.lock without a pyproject.toml", "Commit the pyproject.toml that it was made from.")
    _toml(app / "pyproject.toml")
    inputs = Inputs(UV, _digest([(name, (app / name).read_bytes()) for name in ("pyproject.toml", "uv.lock")]))
    for package in _toml(app / "uv.lock").get("package", []):
        source = package.get("source", {})
        path = source.get("editable") or source.get("directory") or source.get("path") or source.get("virtual")
        if path and path != ".":
            inputs.unstable = f"{package.get('name')} comes from the folder {path}"
    return inputs


def _project(app, version):
    project = _toml(app / "pyproject.toml").get("project")
    if not isinstance(project, dict):
        raise Failure(UNSUPPORTED, "pyproject.toml has no [project] table",
                      "Write the packages into `dependencies` of [project], into a requirements.txt, or commit a uv.lock.")
    if "dependencies" in project.get("dynamic", []):
        raise Failure(UNSUPPORTED, "pyproject.toml declares its dependencies as dynamic",
                      "Write them into `dependencies` of [project], or add a requirements.txt.")
    requirements = project.get("dependencies", [])
    if not isinstance(requirements, list) or not all(isinstance(line, str) for line in requirements):
        raise Failure(UNSUPPORTED, "`dependencies` in pyproject.toml is not a list of strings",
                      'For example: dependencies = ["flask==3.1.0"]')
    wanted = project.get("requires-python")
    if isinstance(wanted, str) and not _fits(wanted, version):
        raise _other_python(f"pyproject.toml asks for Python {wanted}", version)
    unstable = next((f"{line.split('@')[0].strip()} comes from an address" for line in requirements if "@" in line), "")
    return Inputs(PIP_PROJECT, _digest([("pyproject.toml", "\n".join(requirements).encode())]), requirements, unstable)


def _fits(specifier, version):
    try:
        from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        return True  # a pip arranged otherwise: it will notice by itself
    try:
        return SpecifierSet(specifier).contains(".".join(map(str, version)), prereleases=True)
    except InvalidSpecifier:
        raise Failure(UNSUPPORTED, f"`requires-python` in pyproject.toml is not a version range: {specifier}",
                      'For example: requires-python = ">=3.11"') from None


def _requirements(app):
    files, inputs = [], Inputs(PIP_FILE, "")
    _collect(app / "requirements.txt", app, files, inputs)
    inputs.digest = _digest(files)
    return inputs


def _collect(path, app, files, inputs):
    """Adds a requirements file and those that it includes."""
    try:
        name = str(path.resolve().relative_to(app.resolve()))
    except ValueError:
        raise Failure(UNSUPPORTED, f"a requirements file includes {path}, which lies outside of the app", "Move it into the app.") from None
    if name in (seen for seen, _ in files):
        return
    text = _text(path)
    files.append((name, text.encode()))
    for line in re.sub(r"\\\r?\n", "", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        inputs.has_variables |= bool(re.search(r"\$\{[A-Z0-9_]+\}", line))
        include = re.match(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=)(\S+)|-[rc](\S+)", line)
        if include:
            target = include[1] or include[2]
            if "://" in target:
                inputs.unstable = f"{target.split('://')[0]} address in {name}"
            else:
                _collect(path.parent / target, app, files, inputs)
        elif re.match(r"(-e|--editable)\b|\.{0,2}/|\.$|file:", line) or re.search(r"(@\s*|^)(git\+|hg\+|svn\+|bzr\+|file:)", line):
            inputs.unstable = f"{name} has a folder or a repository"


def _text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Failure(UNSUPPORTED, f"{path.name} is included and does not exist", "Commit it, or take the line out.") from None
    except UnicodeDecodeError:
        raise Failure(UNSUPPORTED, f"{path.name} is not UTF-8 text",
                      "Save it as UTF-8; `pip freeze > requirements.txt` in an old PowerShell writes UTF-16.") from None


def _toml(path):
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise Failure(UNSUPPORTED, f"{path.name} is not TOML: {error}", "Correct that place.") from None


def _digest(files):
    total = hashlib.sha256()
    for name, content in files:
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()
