"""Writes the parts list of an image as CycloneDX JSON: ``sbom.py OUT``.

``cyclonedx-py`` lists the Python packages of /opt/moon;
this adds the Debian packages of the base, which it does not see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PYTHON = "/opt/moon/bin/python"
TOOL = "/opt/tools/bin/cyclonedx-py"
FIELDS = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"


def python_packages() -> dict[str, Any]:
    """The document as ``cyclonedx-py`` makes it, without time stamp and serial number."""
    command = [TOOL, "environment", PYTHON, "--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON"]
    # The current folder is the first place in which a Python looks for packages.
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd="/")
    return dict(json.loads(made.stdout))


def debian_packages(listed: str) -> list[dict[str, str]]:
    """Components from lines of status, name, version and architecture; only installed ones."""
    components = []
    for line in listed.splitlines():
        status, name, version, architecture = line.split("\t")
        if status.startswith("ii"):
            purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
            components.append(
                {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl.replace("+", "%2B")}
            )
    return components


def main() -> None:
    """Writes the document to the path in the first argument."""
    document = python_packages()
    listed = subprocess.run(["dpkg-query", "-W", f"-f={FIELDS}"], check=True, stdout=subprocess.PIPE, text=True)
    document["components"] += debian_packages(listed.stdout)
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
