"""Prepares what lies beside the code: the contact sheet of the procedural birds.

python -m launch.prepare --contact_sheet=docs/birds.png [--world=0]
"""

from __future__ import annotations

import pathlib

from absl import flags
from PIL import Image

from launch import runner
from partrep import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("contact_sheet", None, "PNG file to write the contact sheet of the birds to", flag_values=FLAGS)
flags.DEFINE_integer("world", 0, "seed of the world to show", flag_values=FLAGS)


def main(overrides: list[str]) -> None:
    """Writes what the flags ask for."""
    if not FLAGS.contact_sheet:
        raise UserError("nothing to prepare; expected --contact_sheet=FILE.png")
    path = pathlib.Path(FLAGS.contact_sheet)
    if path.suffix.lower() != ".png":
        raise UserError(f"--contact_sheet={path} is no PNG file; expected a name that ends in .png")
    write_sheet(path, FLAGS.world)
    print(path)


def write_sheet(path: pathlib.Path, world: int) -> None:
    """Draws the birds of a world and writes them with a palette of 256 colours, a third of the size."""
    from partrep.data.birds.sheet import contact_sheet  # JAX starts only now that the flags are right

    picture = Image.fromarray(contact_sheet(world)).quantize(256, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__ or "")
