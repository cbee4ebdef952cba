from __future__ import annotations

import json
import subprocess
import sys

LIMITS = """
import json, logging, resource, sys
from moon.config import ServingParams
from moon.serving import host

said = []
logging.getLogger("moon.serving.host").addFilter(lambda record: said.append(record.getMessage()))
for limits in json.loads(sys.argv[1]):  # falling, for a hard limit cannot be raised
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    server = host.Server(ServingParams(max_connections=1000), 0, 0)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(json.dumps([server._protocol.max_connections, soft, len(said)]))
"""


def test_connections_are_as_many_as_the_limit_of_open_files_allows() -> None:
    limits = [(1900, 1900), (300, 1800), (300, 1200), (300, 400)]
    command = [sys.executable, "-c", LIMITS, json.dumps(limits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    connections, soft, warnings = zip(*map(json.loads, done.stdout.splitlines()), strict=True)
    assert connections == (1000, 1000, 1200 - 512, 200)
    assert soft == (1900, 1512, 1200, 400)
    assert warnings == (0, 0, 1, 2)
