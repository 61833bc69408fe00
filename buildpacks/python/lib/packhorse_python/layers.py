"""Layers: which there are, and whether a restored one still fits."""

import json
import shutil
import tomllib
from pathlib import Path


class Layer:
    """One layer's folder and the TOML file beside it."""

    def __init__(self, layers: Path, name: str):
        self.path = layers / name
        self.toml = layers / f"{name}.toml"

    def fits(self, metadata: dict) -> bool:
        """Whether a former build left this layer with the very same metadata."""
        if not self.path.is_dir():
            return False
        try:
            return tomllib.loads(self.toml.read_text()).get("metadata") == metadata
        except (OSError, tomllib.TOMLDecodeError):
            return False

    def clear(self):
        """Makes it an empty folder. Without its TOML file a build that fails half-way leaves nothing to be reused."""
        self.remove()
        self.path.mkdir(parents=True)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
        self.toml.unlink(missing_ok=True)

    def keep(self, metadata: dict, *types: str):
        """Says what the layer is for. Values are strings; JSON's spelling of one is TOML's too."""
        lines = ["[types]"] + [f"{name} = true" for name in types] + ["", "[metadata]"]
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(metadata.items())]
        self.toml.write_text("\n".join(lines) + "\n")

    def set_env(self, folder: str, **files: str):
        (self.path / folder).mkdir(exist_ok=True)
        for name, value in files.items():
            (self.path / folder / name.replace("__", ".")).write_text(value)
