"""What the tasks of all pipelines ask of a cluster: resources, retries, storage, placement. A local run ignores it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from kfp import dsl, kubernetes

MOUNT: Final = "/mnt/moon"
"""Where tasks find the claim; `launch.shared` of the recipe must be the same."""
CLAIM: Final = "moon-training"
REGISTRY: Final = f"{MOUNT}/registry"
DEPLOYMENT: Final = f"{MOUNT}/deployment"
ACCELERATOR: Final = "nvidia.com/gpu"
STORE_SECRET: Final = "moon-s3"
STORE_SETTINGS: Final = "moon-data"
"""Secret and ConfigMap of the namespace, either may be absent: keys of the data's object store, and where it is."""
_STORE_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_STORE_PLACE: Final = ("MOON_DVC_REMOTE", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
_USER: Final = 10001
"""Of the images."""
_BACKOFF: Final = {"backoff_duration": "15s", "backoff_factor": 2.0, "backoff_max_duration": "600s"}


@dataclass(frozen=True)
class Size:
    """Resources of a task."""

    cpu_request: str
    cpu: str
    memory_request: str
    memory: str


SMALL: Final = Size("250m", "1", "512Mi", "2Gi")
"""Reads and writes a little."""
MEDIUM: Final = Size("1", "2", "2Gi", "8Gi")
"""Goes through the catalogue."""
LARGE: Final = Size("2", "8", "8Gi", "32Gi")
"""Embeds with a model."""


def pipeline(name: str, description: str) -> Callable[[Callable[..., None]], Any]:
    """`kfp.dsl.pipeline` on a thread of its own.

    Each setter of a task reads the source of every frame of the call stack. In the middle of imports, with thousands of
    modules loaded, that takes half a second a setter; a thread's stack is short.
    """

    def made(function: Callable[..., None]) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(dsl.pipeline(name=name, description=description), function).result()

    return made


def ask(
    task: Any,
    size: Size,
    *,
    cached: bool = True,
    retries: int = 2,
    claim: Any = None,
    hours: int = 6,
) -> Any:
    """Sets what a task asks for, and gives the task.

    Args:
        task: A task of a pipeline.
        size: Its resources; None leaves them to the caller.
        cached: Whether its results may be those of an earlier run with equal inputs and image.
        retries: How often it starts again after a failure, with growing pauses.
        claim: Name of the claim that is mounted at `MOUNT`; None mounts nothing.
        hours: After which it is given up.
    """
    task.set_cpu_request(size.cpu_request).set_cpu_limit(size.cpu)
    task.set_memory_request(size.memory_request).set_memory_limit(size.memory)
    return schedule(task, cached=cached, retries=retries, claim=claim, hours=hours)


def ask_for_data(task: Any, claim: Any) -> Any:
    """`ask` for the task that fetches the data, which alone sees the keys of the object store."""
    kubernetes.use_secret_as_env(task, STORE_SECRET, {key: key for key in _STORE_KEYS}, optional=True)
    kubernetes.use_config_map_as_env(task, STORE_SETTINGS, {key: key for key in _STORE_PLACE}, optional=True)
    return ask(task, MEDIUM, claim=claim)


def ask_for_training(
    task: Any, *, cpu: Any, memory: Any, gpus: Any, node_selector: Any, tolerations: Any, claim: Any
) -> Any:
    """Sets what the training task asks for: the only one that may ask for accelerators."""
    task.register_pipeline_channels([cpu, memory, gpus])  # which setting a resource leaves out
    task.set_cpu_limit(cpu).set_memory_limit(memory)
    task.set_accelerator_type(ACCELERATOR).set_accelerator_limit(gpus)
    kubernetes.add_node_selector_json(task, node_selector)
    kubernetes.add_toleration_json(task, tolerations)
    return schedule(task, cached=True, retries=3, claim=claim, hours=48)


def schedule(task: Any, *, cached: bool, retries: int, claim: Any, hours: int) -> Any:
    """Sets everything but resources."""
    task.set_caching_options(cached)
    if retries:
        task.set_retry(retries, **_BACKOFF)
    kubernetes.set_timeout(task, hours * 3600)
    kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
    if claim is not None:
        kubernetes.mount_pvc(task, claim, MOUNT)
    return task
