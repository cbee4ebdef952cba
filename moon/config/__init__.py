"""The typed parameters of every step; ``params.yaml`` is their one file.

A section of the file is one frozen dataclass of `moon.config.sections`. Nothing else in the project holds a default, so
reading that module and ``params.yaml`` tells everything that can be set.

    params = load_params(Path("params.yaml"), overrides=["training.steps=50"])
"""

from moon.config.collecting import CollectorParams
from moon.config.drifting import DriftParams
from moon.config.fields import ParamsError
from moon.config.launching import LaunchParams
from moon.config.parsing import from_dict, from_json, load_params, parse_params, to_dict, to_json
from moon.config.rollout import PipelineParams
from moon.config.sections import (
    AugmentParams,
    CatalogParams,
    DuplicatesParams,
    EvaluationParams,
    GateParams,
    MiningParams,
    ModelParams,
    ObjectivesParams,
    Params,
    RegionsParams,
    RenderParams,
    ServingParams,
    TrainingParams,
    ValidationParams,
)

__all__ = [
    "AugmentParams",
    "CatalogParams",
    "CollectorParams",
    "DriftParams",
    "DuplicatesParams",
    "EvaluationParams",
    "GateParams",
    "LaunchParams",
    "MiningParams",
    "ModelParams",
    "ObjectivesParams",
    "Params",
    "ParamsError",
    "PipelineParams",
    "RegionsParams",
    "RenderParams",
    "ServingParams",
    "TrainingParams",
    "ValidationParams",
    "from_dict",
    "from_json",
    "load_params",
    "parse_params",
    "to_dict",
    "to_json",
]
