"""A contact sheet of birds: what the parts' values look like, the nuisance, the interventions, levels and masks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from partrep.data.birds import interventions
from partrep.data.birds.render import Rendered, render
from partrep.data.birds.scene import PLACES, Scene, sample
from partrep.data.birds.world import LEVELS, PARTS, VALUES, World

TILE, GAP, COLUMNS, LINE = 100, 3, 10, 22
WIDTH = COLUMNS * (TILE + GAP) - GAP
PAPER, TEXT = (250, 249, 246), (40, 40, 40)
# of part_mask: no bird, body, then the six parts
MASK_COLOURS = np.array(
    [
        (45, 48, 56),
        (200, 200, 200),
        (230, 97, 76),
        (242, 183, 56),
        (86, 170, 98),
        (66, 133, 204),
        (156, 99, 190),
        (84, 196, 196),
    ],
    np.uint8,
)


def contact_sheet(seed: int = 0) -> np.ndarray:
    """The sheet of the world with this seed, u8 [H, W, 3]."""
    standard = World(seed, "standard")
    side = 3 * TILE + 2 * GAP
    rows = [
        _beside(
            _titled("Seven values of each part", _values(standard, (side - 5 * GAP) // 6)),
            _titled("Birds of one class: pose, light, habitat, marks, branches, clutter", _nuisance(standard)),
        ),
        *_intervention_rows(standard),
        *(_titled(f"Level {level}", _grid(_some(World(seed, level)))) for level in LEVELS),
        _titled("Truth: visible parts, their centres, the box", _masks(standard)),
    ]
    return np.concatenate([_fill(row, WIDTH) for row in rows], axis=0)


def _plain(scene: Scene) -> Scene:
    """The same birds without noise, blur, branches and clutter."""
    nothing = {name: getattr(scene, name)[:, :0] for name in ("branches", "clutter")}
    return dataclasses.replace(scene, noise=0 * scene.noise, blur=0 * scene.blur, **nothing)


def _repeat(scene: Scene, count: int) -> Scene:
    return jax.tree.map(lambda a: jnp.repeat(a[:1], count, axis=0), scene)


def _pixels(image) -> np.ndarray:
    return np.round(255 * np.asarray(image)).astype(np.uint8)


def _scene(world: World, rows) -> Scene:
    table = world.split("base", "train")
    return sample(world, table.keys[rows], table.values[rows])


def _values(world: World, tile: int) -> np.ndarray:
    """A row for each part, a column for each value: cut from a bird in rest that has this part alone."""
    scene = _repeat(_plain(_scene(world, [0])), len(PARTS) * VALUES)
    rest = {name: 0 * getattr(scene, name) for name in ("angle", "shift", "limbs", "ring_on", "marks", "habitat")}
    for name, level in {"mirror": 1.0, "scale": 0.95, "light": 1.0, "tint": 0.75}.items():
        rest[name] = jnp.full_like(getattr(scene, name), level)
    part, value = np.divmod(np.arange(len(PARTS) * VALUES), VALUES)
    rest["values"] = np.repeat(value[:, None], len(PARTS), axis=1)
    scene = interventions.keep(dataclasses.replace(scene, **rest), part[:, None] == np.arange(len(PARTS)))
    size = round(2.8 * tile)  # so that a tile shows the part and what it sits on
    image = _pixels(render(world, scene, size).image)
    image = np.pad(image, ((0, 0), (tile, tile), (tile, tile), (0, 0)), mode="edge")
    corner = np.round((0.95 * PLACES[part, :2] + 1) / 2 * size + tile / 2).astype(int)
    tiles = [picture[y : y + tile, x : x + tile] for picture, (x, y) in zip(image, corner)]
    names = Image.new("RGB", (52, len(PARTS) * (tile + GAP) - GAP), PAPER)
    for row, name in enumerate(PARTS):
        position = (4, row * (tile + GAP) + tile // 2 - 8)
        ImageDraw.Draw(names).text(position, name, TEXT, ImageFont.load_default(12))
    return np.concatenate([_grid(np.stack(tiles), VALUES), np.asarray(names)], axis=1)


def _nuisance(world: World) -> np.ndarray:
    tiles = _pixels(render(world, _scene(world, 700 + np.arange(18)), TILE).image)
    return _grid(tiles[: 3 * (COLUMNS - 4)], COLUMNS - 4)


def _some(world: World) -> np.ndarray:
    return _pixels(render(world, _scene(world, 50 + 1613 * np.arange(COLUMNS)), TILE).image)


def _steps(scene: Scene) -> dict[str, Scene]:
    """A scene after each intervention, by name."""
    change = interventions
    return {
        "as it is": scene,
        "swap beak": change.swap(scene, "beak", (scene.values[:, 0] + 2) % VALUES),
        "swap wing": change.swap(scene, "wing", (scene.values[:, 2] + 3) % VALUES),
        "remove eye": change.remove(scene, "eye"),
        "remove tail": change.remove(scene, "tail"),
        "hide crown": change.hide(scene, "crown"),
        "recolour feet": change.recolour(scene, "feet", 1),
        "background": change.set_background(scene, (scene.habitat + 3) % VALUES),
        "ring": change.set_ring(scene, True),
        "no parts": change.keep(scene, np.zeros(len(PARTS))),
    }


def _intervention_rows(world: World) -> list[np.ndarray]:
    scene = _scene(world, [6601])
    scene = dataclasses.replace(scene, noise=0 * scene.noise, branches=scene.branches[:, :0])
    steps = _steps(interventions.set_ring(scene, False))
    tiles = np.concatenate([_pixels(render(world, step, TILE).image) for step in steps.values()])
    names = _line([(name, i * (TILE + GAP)) for i, name in enumerate(steps)], WIDTH, 12)
    return [_titled("Interventions on one image, all else fixed", _grid(tiles)), names]


def _masks(world: World) -> np.ndarray:
    out = render(world, _scene(world, 311 + 1999 * np.arange(COLUMNS // 2)), TILE, True)
    pairs = [tile for row in range(COLUMNS // 2) for tile in (_pixels(out.image[row]), _truth(out, row))]
    return _grid(np.stack(pairs))


def _truth(out: Rendered, row: int) -> np.ndarray:
    assert out.part_mask is not None and out.box is not None and out.visible is not None
    picture = Image.fromarray(MASK_COLOURS[np.asarray(out.part_mask[row])])
    draw = ImageDraw.Draw(picture)
    size = out.part_mask.shape[1]
    y0, x0, y1, x1 = (float(v) * size for v in out.box[row])
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 255, 255))
    for (y, x), seen in zip(np.asarray(out.keypoints[row]) * size, np.asarray(out.visible[row])):
        if seen > 0.5:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(0, 0, 0), outline=(255, 255, 255))
    return np.asarray(picture)


def _grid(tiles: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    out = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + GAP), i % columns * (width + GAP)
        out[y : y + height, x : x + width] = tile
    return out


def _line(texts: list[tuple[str, int]], width: int, size: int) -> np.ndarray:
    """A line of paper with texts at their x positions."""
    paper = Image.new("RGB", (width, LINE), PAPER)
    for text, x in texts:
        ImageDraw.Draw(paper).text((x, 3), text, TEXT, ImageFont.load_default(size))
    return np.asarray(paper)


def _titled(title: str, picture: np.ndarray) -> np.ndarray:
    return np.concatenate([_line([(title, 0)], picture.shape[1], 14), picture], axis=0)


def _fill(picture: np.ndarray, width: int) -> np.ndarray:
    """The picture on paper of this width, with a gap below."""
    paper = np.full((picture.shape[0] + GAP, width, 3), PAPER, np.uint8)
    paper[: picture.shape[0], : picture.shape[1]] = picture
    return paper


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    height = max(left.shape[0], right.shape[0])
    out = np.full((height, WIDTH, 3), PAPER, np.uint8)
    out[: left.shape[0], : left.shape[1]] = left
    out[: right.shape[0], WIDTH - right.shape[1] :] = right
    return out
