"""pigeon-load, run by a test."""

import json
import os
import pathlib
import subprocess
import tempfile

from .node import pigeond


def pigeon_load():
    """The load generator: $PIGEON_LOAD, or what stands beside the node's program."""
    path = os.environ.get("PIGEON_LOAD") or pathlib.Path(pigeond()).with_name("pigeon-load")
    if not pathlib.Path(path).exists():
        raise AssertionError(f"{path} is not there: cargo build --release --bin pigeon-load")
    return str(path)


def load(*words, code=0):
    """Its summary. It must end by itself, with this code."""
    with tempfile.NamedTemporaryFile(suffix=".json") as summary:
        done = subprocess.run([pigeon_load(), "--quiet", "--json", summary.name, *map(str, words)], capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == code, f"ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return json.loads(summary.read() or "null")
