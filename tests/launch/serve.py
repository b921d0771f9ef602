"""Serves an exported classifier with the standard library, JAX and NumPy alone: `python serve.py FOLDER`.

Prints its port; a POST of photos as .npy is answered with the outputs as .npz. Any import of partrep or flax fails.
"""

import http.server
import io
import json
import pathlib
import sys


class Missing:
    """Finds nothing where partrep and what it is built on would be."""

    def find_spec(self, name, path=None, target=None):
        """Raises for what a served copy must do without."""
        if name.partition(".")[0] in ("partrep", "flax", "optax", "orbax", "launch"):
            raise ImportError(f"{name} is not here")


sys.meta_path.insert(0, Missing())

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax import export  # noqa: E402

folder = pathlib.Path(sys.argv[1])
about = json.loads((folder / "model.json").read_text())
model = jax.jit(export.deserialize(bytearray((folder / about["file"]).read_bytes())).call)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers POSTs of photos u8 [b,S,S,3]."""

    def do_POST(self):
        """Runs the model on the photos of the body."""
        photos = np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        body = io.BytesIO()
        np.savez(body, **{name: np.asarray(value) for name, value in model(photos).items()})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.getvalue())

    def log_message(self, format, *args):
        """Says nothing."""


with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
