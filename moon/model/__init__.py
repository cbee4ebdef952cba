"""The embedding model: configuration, processor, network, and a loaded pair of them.

Importing the package registers the classes with the Auto classes of `transformers`.
"""

from transformers import AutoConfig, AutoModel

from moon.model.configuration import MoonConfig
from moon.model.embedder import Embedder
from moon.model.item import OBJECTIVES, VIEWS, Item, TokenType, View
from moon.model.modeling import MoonModel
from moon.model.processing import MoonProcessor

__all__ = ["OBJECTIVES", "VIEWS", "Embedder", "Item", "MoonConfig", "MoonModel", "MoonProcessor", "TokenType", "View"]

AutoConfig.register("moon", MoonConfig)
AutoModel.register(MoonConfig, MoonModel)
