"""MiniGym: a synthetic, rendered, fine-grained gymnastics data set in FineGym's formats."""

from gym_qa.minigym.dataset import SIZES, MiniGymConfig, make_minigym
from gym_qa.minigym.draw import Renderer
from gym_qa.minigym.elements import ELEMENTS, Element

__all__ = ["ELEMENTS", "SIZES", "Element", "MiniGymConfig", "Renderer", "make_minigym"]
