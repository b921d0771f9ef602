"""Part methods, features [B,h,w,D] to `Parts`: short modules built from the pure functions beside them."""

from partrep.parts.assigned import Assigned
from partrep.parts.ca_stream import CaStreamPooling
from partrep.parts.exclusive import Exclusive
from partrep.parts.gap import Gap
from partrep.parts.gem import Gem
from partrep.parts.landmarks import Landmarks
from partrep.parts.locations import Locations
from partrep.parts.prototypes import Prototypes
from partrep.parts.regions import Regions
from partrep.parts.rmac import Rmac
from partrep.parts.slots import Slots

METHODS = {
    "assigned": Assigned,
    "ca_stream": CaStreamPooling,
    "exclusive": Exclusive,
    "gap": Gap,
    "gem": Gem,
    "landmarks": Landmarks,
    "locations": Locations,
    "prototypes": Prototypes,
    "regions": Regions,
    "rmac": Rmac,
    "slots": Slots,
}
