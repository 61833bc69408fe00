"""Runs pip and uv."""

import os
import re
import subprocess
import sys
import tempfile
import venv
from collections import deque
from pathlib import Path

from .failure import LOCK, Failure, installing
from .inputs import PIP_FILE, UV

# Set by an app for its own run time, these would send packages elsewhere or change the interpreter that installs.
_DROPPED = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_LOG", "PIP_PYTHON",
            "PIP_COMPILE", "PIP_NO_COMPILE", "PIP_REPORT", "VIRTUAL_ENV", "UV_PYTHON", "UV_TARGET", "UV_COMPILE_BYTECODE", "UV_MANAGED_PYTHON",
            "UV_PYTHON_INSTALL_DIR", "UV_WORKING_DIRECTORY", "UV_PROJECT")


def environment(cache: Path) -> dict:
    """The installers' environment: the build's, with every setting that decides where things go."""
    env = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    env.update(
        PIP_CACHE_DIR=str(cache / "pip"), PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_PROGRESS_BAR="off", PYTHONHASHSEED="0",
        UV_CACHE_DIR=str(cache / "uv"), UV_LINK_MODE="copy", UV_NO_PROGRESS="1", UV_PYTHON_DOWNLOADS="never",
        UV_PYTHON_PREFERENCE="only-system",
    )
    return env


def has_credentials(env: dict) -> bool:
    """Whether an index address carries a user name or password, which an installer may write into its cache."""
    if any(key.startswith("UV_INDEX_") and key.endswith(("_PASSWORD", "_USERNAME")) for key in env):
        return True
    return any(key.startswith(("PIP_", "UV_")) and re.search(r"://[^/\s]*@", value) for key, value in env.items())


def make_venv(path: Path):
    """A virtual environment without pip: what installs is not what runs."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(path)


def packages(inputs, app: Path, target: Path, uv: Path, env: dict):
    """Installs what `inputs` asks for into the virtual environment `target`."""
    if inputs.manager == UV:
        _uv_sync(app, target, uv, env)
    elif inputs.manager == PIP_FILE:
        _pip(["-r", "requirements.txt"], app, target, env)
    elif inputs.requirements:
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / "pyproject.toml"  # the name that pip shows
            listed.write_text("\n".join(inputs.requirements) + "\n")
            _pip(["-r", str(listed)], app, target, env)


def uv_program(layer, version: str, env: dict):
    """Puts uv into its layer unless this version is there."""
    metadata = {"version": version}
    if not layer.fits(metadata):
        layer.clear()
        _run("pip install uv", [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
                                "--target", str(layer.path), f"uv=={version}"], layer.path, env)
    layer.keep(metadata, "cache")
    return layer.path / "bin" / "uv"


def compile_all(target: Path, env: dict):
    """Compiles all modules. By hash and unchecked: files in an image have the time stamp of 1980, never the one they were compiled at."""
    subprocess.run([str(target / "bin" / "python"), "-s", "-m", "compileall", "-q", "-f", "-j", "1", "--invalidation-mode", "unchecked-hash",
                    str(target / "lib")], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _pip(arguments, app, target, env):
    # The flag, not PIP_NO_COMPILE: pip reads that variable as the value of `compile`, so 1 turns compiling on.
    _run("pip install", [sys.executable, "-m", "pip", "--python", str(target / "bin" / "python"), "install", "--no-compile", *arguments],
         app, env)


def _uv_sync(app, target, uv, env):
    try:
        _run("uv sync", [str(uv), "sync", "--locked", "--no-default-groups", "--no-install-project", "--no-editable"], app,
             {**env, "UV_PROJECT_ENVIRONMENT": str(target)})
    except Failure as failure:
        if "needs to be updated" in failure.output:
            raise Failure(LOCK, "uv.lock does not fit pyproject.toml", "Run `uv lock` and commit the result.") from None
        raise


def _run(words, command, folder, env):
    """Shows the output as it comes and keeps its end, to tell causes apart."""
    tail = deque(maxlen=200)
    with subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as child:
        for line in child.stdout:
            print("  " + line, end="", flush=True)
            tail.append(line)
    if child.returncode != 0:
        failure = installing(words, "".join(tail))
        failure.output = "".join(tail)
        raise failure
