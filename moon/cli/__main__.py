"""Runs the command line as ``python -m moon.cli``."""

from __future__ import annotations

import sys

from moon.cli import main

sys.exit(main())
