"""Part methods, features [B,h,w,D] to `Parts`: short modules built from the pure functions beside them."""

from partrep.parts.gap import Gap
from partrep.parts.landmarks import Landmarks
from partrep.parts.slots import Slots

METHODS = {"gap": Gap, "landmarks": Landmarks, "slots": Slots}
