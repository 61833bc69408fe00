"""The steps of bin/build."""

import hashlib
import json
import os
import platform
import re
import sys
import tomllib
from pathlib import Path

from . import inputs as app_files
from . import install, sbom
from .failure import Failure
from .layers import Layer

# Raise it when the same inputs are to give another layer than before.
FORMAT = "1"


def main() -> int:
    try:
        build(Path.cwd(), Path(os.environ["CNB_LAYERS_DIR"]), Path(os.environ["CNB_BUILDPACK_DIR"]))
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr, flush=True)
        return failure.status
    return 0


def build(app: Path, layers: Path, buildpack: Path):
    python = platform.python_version()
    print(f"Python {python} of the build image ({sys.executable})", flush=True)
    inputs = app_files.read(app, tuple(int(part) for part in re.findall(r"\d+", python)[:3]))
    for notice in inputs.notices:
        print(f"Notice: {notice}")

    uv_version = tomllib.loads((buildpack / "buildpack.toml").read_text())["metadata"]["uv-version"]
    target = Layer(layers, "venv")
    metadata = {"key": layer_key(inputs, uv_version), "manager": inputs.manager, "python": python}
    downloads, uv = Layer(layers, "downloads"), Layer(layers, "uv")

    if target.fits(metadata) and not inputs.unstable:
        print(f"Packages unchanged, layer reused ({inputs.manager})", flush=True)
        downloads_kept(downloads, inputs)
        if inputs.manager == app_files.UV and uv.path.is_dir():
            uv.keep({"version": uv_version}, "cache")
    else:
        if inputs.unstable:
            print(f"Installed at every build: {inputs.unstable}")
        install_into(target, downloads, uv, uv_version, inputs, app)
    target.keep(metadata, "launch", "build", "cache")

    document = sbom.of(site_packages(target.path), python)
    (layers / "venv.sbom.cdx.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    count = len(document["components"]) - 1  # the last is the interpreter
    print(f"{count} {'package' if count == 1 else 'packages'}", flush=True)
    if not (app / "Procfile").is_file():
        print("Notice: there is no Procfile: the image gets no process of its own")


def install_into(target, downloads, uv, uv_version, inputs, app):
    downloads.path.mkdir(parents=True, exist_ok=True)
    env = install.environment(downloads.path)
    program = install.uv_program(uv, uv_version, env) if inputs.manager == app_files.UV else None
    print(f"Installing packages ({inputs.manager})", flush=True)
    target.clear()
    install.make_venv(target.path)
    install.packages(inputs, app, target.path, program, env)
    install.compile_all(target.path, env)
    target.set_env("env", VIRTUAL_ENV__override=str(target.path))
    # Output line by line, or the last words of a process that is killed are lost.
    target.set_env("env.launch", PYTHONUNBUFFERED__default="1", LANG__default="C.UTF-8")
    downloads_kept(downloads, inputs, env)


def downloads_kept(downloads, inputs, env=os.environ):
    """Keeps the installers' cache, unless they could have written a credential into it."""
    if inputs.has_variables or install.has_credentials(env):
        print("Downloads are not cached: an index address carries credentials")
        downloads.remove()
    elif downloads.path.is_dir():
        downloads.keep({}, "cache")


def layer_key(inputs, uv_version) -> str:
    """What a finished layer stands for: the app's files and the interpreter, never the values of variables."""
    parts = [FORMAT, inputs.manager, inputs.digest, sys.version, sys.implementation.cache_tag, platform.machine(), distribution()]
    if inputs.manager == app_files.UV:
        parts.append(uv_version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def distribution() -> str:
    return "-".join(os.environ.get(f"CNB_TARGET_DISTRO_{name}", "") for name in ("NAME", "VERSION"))


def site_packages(target: Path) -> Path:
    return target / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
