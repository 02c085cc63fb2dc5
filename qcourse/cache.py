"""The one folder outside the project that qcourse writes to: a fetched model, and what was measured of this machine."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """QCOURSE_CACHE, or the system's folder for such files. Raises RuntimeError where a user has no home."""
    if named := os.environ.get("QCOURSE_CACHE"):
        return Path(named).expanduser()
    usual = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA") or "~/AppData/Local"}
    return Path(usual.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "qcourse"
