"""Compiled pipelines, read as strictly as the KFP API server reads them, and named by what they say."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

SCHEMA: Final = "2.1.0"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as quick where PyYAML has it."""
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Package:
    """A compiled pipeline."""

    name: str
    version: str
    """Name of the version: the pipeline's and the start of the SHA-256 over its documents, so equal content has it."""
    spec: dict[str, Any]
    platform: dict[str, Any]
    """Settings of the Kubernetes platform; empty where there are none."""


def read_package(path: Path) -> Package:
    """Reads a compiled pipeline.

    Raises:
        ValueError: the API server would refuse it; the message says why.
    """
    try:
        documents = [one for one in yaml.load_all(path.read_text(encoding="utf-8"), _LOADER) if one is not None]
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML ({error}); make it with 'moon pipeline compile'") from None
    try:
        spec, platform = _parsed(documents)
    except ValueError as error:
        raise ValueError(f"{path} is no compiled pipeline: {error}; make it with 'moon pipeline compile'") from None
    name = spec["pipelineInfo"]["name"]
    digest = hashlib.sha256(json.dumps(documents, sort_keys=True).encode()).hexdigest()
    return Package(name=name, version=f"{name}-{digest[:12]}", spec=spec, platform=platform)


def _parsed(documents: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if not all(isinstance(one, dict) for one in documents):
        raise ValueError("each document must be a mapping")
    platforms = [one for one in documents if "platforms" in one]
    specs = [one for one in documents if "platforms" not in one]
    if len(specs) != 1 or len(platforms) > 1:
        raise ValueError(
            f"expected one pipeline and at most one platform document, got {len(specs)} and {len(platforms)}"
        )
    _check(specs[0])
    platform = platforms[0] if platforms else {}
    if platform:
        _check_platform(platform, set(specs[0].get("deploymentSpec", {}).get("executors", {})))
    return specs[0], platform


def _check(spec: dict[str, Any]) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        deployment = json_format.MessageToDict(parsed.deployment_spec)
        json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    if parsed.schema_version != SCHEMA:
        raise ValueError(f"schemaVersion is '{parsed.schema_version}', expected {SCHEMA}")
    if not _LABEL.fullmatch(parsed.pipeline_info.name):
        raise ValueError(
            f"the name '{parsed.pipeline_info.name}' must be lower-case letters, digits and dashes, 1 to 63"
        )
    if not parsed.HasField("root"):
        raise ValueError("it has no root")


def _check_platform(platform: dict[str, Any], executors: set[str]) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        settings = platform["platforms"].get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        for config in settings.values():
            json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    if unknown := set(settings) - executors:
        raise ValueError(f"the platform document has settings for {min(unknown)}, which the pipeline has not")
