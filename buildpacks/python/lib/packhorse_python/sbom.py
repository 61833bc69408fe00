"""The installed packages as a CycloneDX 1.5 document: no time, no serial number, so that equal layers have equal documents."""

import importlib.metadata
import re


def of(site_packages, python: str) -> dict:
    """Lists the distributions of a site-packages folder, and the interpreter that they are for."""
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(site_packages)]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if name:
            found[name] = distribution
    components = [_component(name, found[name]) for name in sorted(found)]
    components.append({"type": "platform", "bom-ref": f"python@{python}", "name": "python", "version": python,
                       "purl": f"pkg:generic/python@{python}"})
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}


def _component(name, distribution):
    version = distribution.version
    purl = f"pkg:pypi/{name}@{version.replace('+', '%2B').replace('!', '%21')}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    metadata = distribution.metadata
    expression, words = metadata.get("License-Expression"), metadata.get("License") or ""
    if expression:
        component["licenses"] = [{"expression": expression}]
    elif words and "\n" not in words and len(words) < 100 and words != "UNKNOWN":
        component["licenses"] = [{"license": {"name": words}}]
    return component
