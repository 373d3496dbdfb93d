"""Property tests draw the same examples on every machine and every run, and each run of a pass is checked."""

from __future__ import annotations

import os

from hypothesis import settings

from bevel.passes.base import CHECKS

os.environ[CHECKS] = "1"  # every pass: its conditions, and whether `modified` is true

settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")
