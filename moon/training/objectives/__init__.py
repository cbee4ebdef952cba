"""What training minimises, each objective in a file of its own; `Objectives` is their sum."""

from moon.training.objectives.memory_bank import MemoryBank
from moon.training.objectives.objective import Objectives, Score

__all__ = ["MemoryBank", "Objectives", "Score"]
