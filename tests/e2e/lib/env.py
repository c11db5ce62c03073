# SPDX-License-Identifier: Apache-2.0
"""What tests/run hands to a test: where the servers, the built programs and the data are."""
import os
import tempfile

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.environ.get("WH_BUILD") or TOP
DATA = os.environ.get("WH_SHARED_DATA") or os.path.join(TOP, "..", "shared", "data")
FAST = bool(os.environ.get("WH_FAST"))
WORK = os.environ.get("WH_WORK") or tempfile.gettempdir()


def port(name):
    """A port from the environment, or 0 when that server does not run."""
    return int(os.environ.get(name) or 0)


def program(name):
    """Path of a built program (or of the one WH_<NAME> names)."""
    return os.environ.get("WH_" + name.upper().replace("-", "_")) or os.path.join(BUILD, name)


def cached(what):
    """Where scripts/deps keeps the engine, the client or the sdk (same rule as scripts/lib.sh)."""
    with open(os.path.join(TOP, "scripts", "lib.sh"), encoding="utf-8") as f:
        version = next(line for line in f if line.startswith(what + "_version=")).split("=")[1].strip()
    cache = os.environ.get("WH_CACHE") or os.path.expanduser("~/.cache/wavehoused")
    return os.path.join(cache, f"{what}-{version}")


def access_log():
    """The real data, or None where that folder is missing."""
    path = os.path.join(DATA, "access_log.ndjson")
    return path if os.path.exists(path) else None
