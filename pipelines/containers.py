"""Runs the tasks of a local run in their images, by KFP's DockerRunner: without a network, and nobody's user.

A task sees what a pod of it would see: the folders of the run, and the catalogue, which it cannot change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kfp import local

from components.base import images
from pipelines.local import PipelineError

if TYPE_CHECKING:
    from docker.types import Mount

_USER: Final = 10001
"""Of the images; a run that root starts is not root's inside."""
_SHARED_MEMORY: Final = "1g"
_TEMPORARY: Final = "rw,exec,nosuid,nodev,mode=1777"


def runner(root: Path, writable: Sequence[Path], readable: Sequence[Path]) -> Any:
    """KFP's runner for containers that have no network and no rights.

    Args:
        root: Folder of all outputs, which KFP shows to every task itself.
        writable: Further folders that tasks write, at the same paths inside. They and ``root`` are made, and given to
            the tasks' user where root runs this.
        readable: Folders that tasks read.

    Raises:
        PipelineError: There is no Docker engine to be reached, or it does not hold the images.
    """
    check()
    for folder in (root, *writable):
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, _USER, _USER)
    return local.DockerRunner(
        user=f"{os.getuid() or _USER}:{os.getgid() or _USER}",
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": _TEMPORARY},  # noqa: S108 - inside the container
        shm_size=_SHARED_MEMORY,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mounts=[
            *(_mount(one, read_only=False) for one in writable),
            *(_mount(one, read_only=True) for one in readable),
        ],
    )


def _mount(folder: Path, read_only: bool) -> Mount:
    from docker.types import Mount

    place = str(folder.resolve())
    return Mount(target=place, source=place, type="bind", read_only=read_only)


def check() -> None:
    """Raises `PipelineError` where there is no engine, or not the images: KFP would try to pull them."""
    from docker.errors import DockerException, ImageNotFound

    import docker

    try:
        client = docker.from_env()
    except DockerException as error:
        raise PipelineError(f"no Docker engine answers ({error}); start one, or set DOCKER_HOST") from error
    try:
        for name in images().values():
            try:
                client.images.get(name)
            except ImageNotFound as error:
                raise PipelineError(f"the Docker engine has no image {name}; next: make images") from error
    finally:
        client.close()
