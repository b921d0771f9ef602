"""Makes the files of `golden/`: `python tests/models/pretrained/make_golden.py`, with the extra `parity`."""

from __future__ import annotations

import argparse
import pathlib
from collections import OrderedDict

import numpy as np
import safetensors.torch
import torch
from torch_networks import TINY, features, hub_names, positions, randomised

GOLDEN = pathlib.Path(__file__).parent / "golden"
SMALL = ("vit", "dino")  # see the first 20 px of the image of 64


def networks(arrays: dict[str, np.ndarray]) -> None:
    """The weights of each tiny network as a file, and what it makes of an image."""
    pixels = torch.randint(-128, 128, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    arrays["image"] = pixels.permute(0, 2, 3, 1).to(torch.int8).numpy()
    for i, (name, make) in enumerate(TINY.items()):
        torch.manual_seed(i)  # some biases keep the value that they are made with
        model = randomised(make(), i)
        side = 20 if name.startswith(SMALL) else 64
        image = pixels[..., :side, :side] / 64
        state = hub_names(model) if name.startswith("dinov2") else model.state_dict()
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
        safetensors.torch.save_file(state, GOLDEN / f"{name}.safetensors")
        with torch.no_grad():
            arrays[f"{name}.features"] = features(model, image).numpy()
            arrays[f"{name}.logits"] = model(image).numpy()  # of a network without classifier, the class token


def interpolations(arrays: dict[str, np.ndarray]) -> None:
    """Position embeddings on finer, coarser and oblong grids."""
    grid = torch.randn((5, 5, 2), generator=torch.Generator().manual_seed(0))
    arrays["positions"] = grid.numpy()
    for h, w in ((7, 7), (3, 3), (4, 9), (5, 6), (12, 2)):
        for convention in ("offset", "antialias"):
            arrays[f"positions.{convention}.{h}.{w}"] = positions(grid, h, w, convention).numpy()


def torch_files(arrays: dict[str, np.ndarray]) -> None:
    """The same training checkpoint in both formats of PyTorch."""
    base = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(
        {"module.full": base, "module.part": base[1:3, ::2], "module.transposed": base.T, "module.empty": torch.zeros(0, 3)}
    )
    state["module.half"] = torch.tensor([1.5, -2.0], dtype=torch.float16)
    state["module.brain"] = torch.tensor([3.140625, -0.5], dtype=torch.bfloat16)
    state["module.count"] = torch.tensor(7)
    state["module.parameter"] = torch.nn.Parameter(torch.ones(2))
    arrays.update({f"torch.{name}": value.detach().float().numpy() for name, value in state.items()})
    checkpoint = {"epoch": 3, "args": argparse.Namespace(lr=0.1), "state_dict": state, "best": np.float64(0.5)}
    torch.save(checkpoint, GOLDEN / "zip.pth")
    torch.save(checkpoint, GOLDEN / "legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    made: dict[str, np.ndarray] = {}
    for step in (networks, interpolations, torch_files):
        step(made)
    np.savez_compressed(GOLDEN / "golden.npz", **made)
