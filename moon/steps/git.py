"""The few questions that steps ask Git, by its own command."""

from __future__ import annotations

import subprocess
from pathlib import Path


class GitError(ValueError):
    """Git refused, or is not there; the message is Git's."""


def git(folder: Path, *arguments: str) -> str:
    """What ``git ARGUMENTS`` prints in a folder.

    Raises:
        GitError: it failed.
    """
    try:
        ended = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise GitError(f"git is needed here and cannot be run: {error.strerror}; install it") from None
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").replace("\n", " ")
        raise GitError(f"'git {' '.join(arguments)}' failed in {folder}: {said}")
    return ended.stdout.rstrip("\n")


def asked(folder: Path, *arguments: str) -> str | None:
    """As `git`, but None where it fails: no repository, no such thing in it, or no Git."""
    try:
        return git(folder, *arguments)
    except GitError:
        return None
