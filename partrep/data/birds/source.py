"""Birds as a source: `birds[i]` for looking at one; training renders whole batches on the device instead."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from partrep.data.birds.render import render
from partrep.data.birds.scene import sample
from partrep.data.birds.world import PARTS, Split, World


@dataclasses.dataclass(frozen=True)
class Birds:
    """The images of a world: a group of classes ("base", "validation", "novel", "all") in a split of images.

    >>> birds = Birds(World(), "novel", "test", size=32)
    >>> len(birds), len(birds.classes)
    (2940, 98)
    """

    world: World
    group: str = "base"
    split: str = "train"
    size: int = 64
    habitat: str = "world"

    def __len__(self) -> int:
        return len(self.table)

    @functools.cached_property
    def table(self) -> Split:
        """Labels, keys, ids and class codes of the images."""
        return self.world.split(self.group, self.split)

    @property
    def labels(self) -> np.ndarray:
        """Class of each image, i32 [n]."""
        return self.table.labels

    @functools.cached_property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.world.names(self.group)

    @functools.cached_property
    def attributes(self) -> dict[str, np.ndarray]:
        """Value of each part in each image, i32 [n]; -1: known only from the image, it is drawn with it."""
        return dict(zip(PARTS, self.table.values.T))

    def batch(self, index, masks: bool = False):
        """The images of these indices [B], as `render` gives them."""
        index = np.asarray(index)
        scene = sample(self.world, self.table.keys[index], self.table.values[index], self.habitat)
        return render(self.world, scene, self.size, masks)

    def __getitem__(self, index: int) -> dict:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        out = self.batch([index], masks=True)
        return {
            "image": np.round(np.asarray(out.image[0]) * 255).astype(np.uint8),
            "label": int(self.labels[index]),
            "id": f"{self.classes[self.labels[index]]}/{self.split}/{int(self.table.ids[index]) & 0x7FFFF}",
            "box": np.asarray(out.box[0]),
            "keypoints": np.asarray(out.keypoints[0]),
            "visible": np.asarray(out.visible[0]) > 0.5,
            "part_mask": np.asarray(out.part_mask[0]).astype(np.uint8),
            "attributes": np.asarray(out.attributes[0]),
        }
