"""Painters of the drawn world: 52 objects and eight backgrounds, in plain vector shapes.

Objects are drawn in a square of coordinates from -1 to 1 (x to the right, y down), which a `Brush` scales, turns and
moves onto its canvas. Nothing here depends on the number of pixels. `phosphene.simulate.scenes` puts them together.
"""

from collections.abc import Callable

from phosphene.simulate.drawings import animals, household, outdoors, vehicles
from phosphene.simulate.drawings.brush import Brush, Tones
from phosphene.simulate.drawings.grounds import GROUNDS, LIGHTS, Ground

__all__ = ["GROUNDS", "KINDS", "LIGHTS", "PAINTERS", "Ground"]

Painter = Callable[[Brush, Tones], None]

_BY_KIND: dict[str, tuple[Painter, ...]] = {
    "an animal": (
        animals.bird,
        animals.butterfly,
        animals.cat,
        animals.crab,
        animals.dog,
        animals.duck,
        animals.elephant,
        animals.fish,
        animals.frog,
        animals.giraffe,
        animals.owl,
        animals.penguin,
        animals.pig,
        animals.rabbit,
        animals.snail,
        animals.snake,
        animals.turtle,
        animals.whale,
    ),
    "a vehicle": (
        vehicles.airplane,
        vehicles.balloon,
        vehicles.bicycle,
        vehicles.boat,
        vehicles.bus,
        vehicles.car,
        vehicles.rocket,
        vehicles.truck,
    ),
    "a plant": (outdoors.cactus, outdoors.flower, outdoors.mushroom, outdoors.tree),
    "food": (outdoors.apple, outdoors.banana, household.cake),
    "a building": (outdoors.house, outdoors.tent),
    "a toy": (outdoors.ball, outdoors.kite, outdoors.robot, outdoors.star),
    "something to wear": (outdoors.crown, household.hat, household.shirt, household.shoe),
    "a thing of the house": (
        household.book,
        household.chair,
        household.clock,
        household.cup,
        household.guitar,
        household.key,
        household.lamp,
        household.teapot,
        household.umbrella,
    ),
}

PAINTERS: dict[str, Painter] = {p.__name__: p for painters in _BY_KIND.values() for p in painters}
PAINTERS = dict(sorted(PAINTERS.items()))
KINDS: dict[str, str] = {p.__name__: kind for kind, painters in _BY_KIND.items() for p in painters}
