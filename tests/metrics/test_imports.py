"""The metrics stand alone: importing them pulls in no JAX, data loading, checkpointing or plotting."""

from __future__ import annotations

import json
import subprocess
import sys

CHECK = """
import json, sys
import partrep.metrics
heavy = ["jax", "grain", "orbax", "matplotlib", "tensorflow", "tensorflow_datasets", "PIL", "sklearn"]
rooms = [name for name in sys.modules if name.startswith("partrep.")]
print(json.dumps([[name for name in heavy if name in sys.modules], rooms]))
"""


def test_importing_the_metrics_pulls_in_nothing_heavy():
    out = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True).stdout
    heavy, rooms = json.loads(out)
    assert heavy == [] and all(room.startswith("partrep.metrics") or room == "partrep.shapes" for room in rooms)
