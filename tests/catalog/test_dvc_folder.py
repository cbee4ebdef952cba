from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from moon.catalog import dvc_folder
from moon.catalog.dvc_folder import REMOTE_VARIABLE, DvcError, DvcFolder, TransferError, open_folder, transfer, tree_md5
from tests.catalog.dvc_repository import SHARD, Repository, git, write_catalog

BIG = "images/part-00009.parquet"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Two versions, ``one`` and ``two``, whose data is in the remote only."""
    root = tmp_path_factory.mktemp("dvc")
    made = Repository(root)
    made.snapshot(write_catalog(root / "first", 5), tag="one")
    made.snapshot(write_catalog(root / "second", 7), tag="two")
    made.forget()
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_folder, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv(REMOTE_VARIABLE, raising=False)


def all_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_revision_gives_its_own_bytes(repository: Repository, tmp_path: Path, form: str) -> None:
    for tag, drop in (("one", "first"), ("two", "second")):
        with open_folder(form.format(repository.folder), tag, "data", str(repository.remote)) as folder:
            assert folder.commit == git(repository.folder, "rev-parse", f"{tag}^{{commit}}")
            assert folder.md5 == tree_md5(folder.files)
            assert f"md5: {folder.md5}" in git(repository.folder, "show", f"{tag}:data.dvc")
            assert transfer(folder, folder.files, tmp_path / tag) == folder.size
        assert all_files(tmp_path / tag) == all_files(repository.root / drop)


def test_without_a_revision_the_last_commit_is_read_and_not_the_working_tree(repository: Repository) -> None:
    pointer = repository.folder / "data.dvc"
    committed = pointer.read_text()
    pointer.write_text(git(repository.folder, "show", "one:data.dvc"))
    try:
        with open_folder(str(repository.folder), "", "data") as folder:
            assert folder.commit == git(repository.folder, "rev-parse", "HEAD")
            assert f"md5: {folder.md5}" in committed
    finally:
        pointer.write_text(committed)


def test_the_environment_names_the_remote(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(repository.remote)
    for place, reads in ((moved, True), (tmp_path / "nowhere", False)):
        monkeypatch.setenv(REMOTE_VARIABLE, str(place))
        if reads:
            with open_folder(str(repository.folder), "one", "data") as folder:
                assert len(folder.files) == 9
        else:
            with pytest.raises(DvcError, match=f"list of files .* cannot be had.*nowhere.*{REMOTE_VARIABLE}"):
                open_folder(str(repository.folder), "one", "data").__enter__()
    with open_folder(str(repository.folder), "one", "data", str(moved)) as folder:  # the argument goes first
        assert folder.files


@pytest.fixture
def folder(repository: Repository) -> Iterator[DvcFolder]:
    with open_folder(str(repository.folder), "one", "data") as opened:
        yield opened


class Reads:
    """Counts the bytes that leave a folder, and breaks off at some of the openings."""

    def __init__(self, folder: DvcFolder, breaks: int = 0, after: int = 0) -> None:
        self.bytes, self._folder, self._breaks, self._after = 0, folder, breaks, after

    def open(self, name: str) -> IO[bytes]:
        data = self._folder.open(name).read()
        counted, breaks = self, self._breaks > 0
        self._breaks -= 1

        class Stream(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                begin = self.tell()
                if breaks and begin >= counted._after:
                    raise ConnectionResetError("gone")
                got = super().read(min(size or -1, counted._after - begin) if breaks else size)
                counted.bytes += len(got)
                return got

        return Stream(data)


def test_what_is_there_is_not_transferred_again(folder: DvcFolder, tmp_path: Path) -> None:
    transfer(folder, folder.files, tmp_path)
    reads = Reads(folder)
    again = dataclasses.replace(folder, open=reads.open)
    assert (transfer(again, again.files, tmp_path), reads.bytes) == (0, 0)
    (tmp_path / SHARD).write_bytes(b"torn")
    size = transfer(again, again.files, tmp_path)
    assert size == reads.bytes == (tmp_path / SHARD).stat().st_size


@pytest.mark.parametrize("after", [1, 100, 1000])
def test_a_broken_connection_goes_on_where_it_ended(folder: DvcFolder, tmp_path: Path, after: int) -> None:
    reads = Reads(folder, breaks=2, after=after)
    transfer(dataclasses.replace(folder, open=reads.open), [SHARD], tmp_path)
    assert reads.bytes == (tmp_path / SHARD).stat().st_size
    assert hashlib.md5((tmp_path / SHARD).read_bytes()).hexdigest() == folder.files[SHARD]


def test_a_connection_that_stays_broken_ends_with_what_came_and_where(folder: DvcFolder, tmp_path: Path) -> None:
    reads = Reads(folder, breaks=99, after=50)
    with pytest.raises(TransferError, match=rf"{SHARD}.*after 4 attempts: ConnectionResetError: gone.*goes on"):
        transfer(dataclasses.replace(folder, open=reads.open), [SHARD], tmp_path)
    assert not (tmp_path / SHARD).exists()
    transfer(folder, [SHARD], tmp_path)
    assert all_files(tmp_path).keys() == {SHARD}


def test_bytes_that_the_revision_does_not_name_never_get_the_name(folder: DvcFolder, tmp_path: Path) -> None:
    spoiled = dataclasses.replace(folder, open=lambda name: io.BytesIO(folder.open(name).read()[:-1] + b"?"))
    with pytest.raises(TransferError, match=rf"its MD5 is .*, expected {folder.files[SHARD]}"):
        transfer(spoiled, [SHARD], tmp_path)
    assert not all_files(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.snapshot(write_catalog(tmp_path / "drop", 5))
    made.forget()
    return made


def test_a_file_that_the_remote_lacks_is_named(own: Repository, tmp_path: Path) -> None:
    with open_folder(str(own.folder), "", "data") as folder:
        own.stored(folder.files[SHARD]).unlink()
        with pytest.raises(DvcError, match=rf"does not have data/{SHARD}.*dvc push"):
            transfer(folder, folder.files, tmp_path / "out")


def test_a_list_of_files_that_was_changed_is_refused(own: Repository) -> None:
    with open_folder(str(own.folder), "", "data") as folder:
        listed = own.stored(folder.md5)
    entries = json.loads(listed.read_text())
    entries[0]["md5"] = "0" * 32
    listed.chmod(0o644)
    listed.write_text(json.dumps(entries))
    with pytest.raises(DvcError, match="list of files"):
        open_folder(str(own.folder), "", "data").__enter__()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_a_list_that_leads_out_of_the_folder_is_refused(own: Repository, name: str) -> None:
    empty = hashlib.md5(b"").hexdigest()
    entries = [{"md5": empty, "relpath": name}]
    text = json.dumps(entries, sort_keys=True)
    md5 = hashlib.md5(text.encode()).hexdigest() + ".dir"
    for content, name_of in ((text, md5), ("", empty)):
        own.stored(name_of).parent.mkdir(parents=True, exist_ok=True)
        own.stored(name_of).write_text(content)
    (own.folder / "data.dvc").write_text(f"outs:\n- md5: {md5}\n  size: 1\n  nfiles: 1\n  hash: md5\n  path: data\n")
    git(own.folder, "commit", "--quiet", "-am", "Evil")
    try:
        with open_folder(str(own.folder), "", "data") as folder:
            transfer(folder, folder.files, own.root / "deep" / "out")
    except (DvcError, TransferError):
        pass
    assert not list(own.root.rglob("evil*")) and not Path("/evil").exists()


def test_md5s_of_dvc_2_are_refused(own: Repository) -> None:
    pointer = own.folder / "data.dvc"
    pointer.write_text(pointer.read_text().replace("  hash: md5\n", ""))
    git(own.folder, "commit", "--quiet", "-am", "As DVC 2 wrote it")
    (own.remote / "files" / "md5").rename(own.remote / "old")
    for folder in (own.remote / "old").iterdir():
        folder.rename(own.remote / folder.name)
    with pytest.raises(DvcError, match="dvc cache migrate"):
        open_folder(str(own.folder), "", "data").__enter__()


@pytest.mark.parametrize(
    ("place", "revision", "path", "said"),
    [
        ("", "nowhen", "data", "unknown Git revision 'nowhen'"),
        ("", "one", "nothing", "'nothing' .* does not exist"),
        ("", "one", "data.dvc", "is not tracked by DVC.*moon data snapshot"),
        ("", "one", f"data/{SHARD}", "is a file, expected a folder"),
        ("/nowhere", "one", "data", "cannot read 'data' of .*/nowhere"),
        ("http://127.0.0.1:9/x.git", "one", "data", "cannot read 'data' of http://127.0.0.1:9/x.git"),
    ],
)
def test_what_cannot_be_read_is_named(repository: Repository, place: str, revision: str, path: str, said: str) -> None:
    where = place if "://" in place else f"{repository.folder}{place}"
    with pytest.raises(DvcError, match=said):
        open_folder(where, revision, path).__enter__()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of a server that speaks S3, with the bucket ``moon``."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    import boto3

    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="moon")
        yield "s3://moon/dvc"
    server.stop()


def test_an_s3_store_takes_a_snapshot_and_gives_it_back(s3: str, tmp_path: Path) -> None:
    made = Repository(tmp_path)
    drop = write_catalog(tmp_path / "drop", 5)
    made.snapshot(drop, tag="one", remote=s3)
    assert not made.remote.exists()
    made.forget()
    out = tmp_path / "out"
    (out / "products").mkdir(parents=True)
    whole = (drop / SHARD).read_bytes()
    (out / f"{SHARD}.partial").write_bytes(whole[:-100])
    with open_folder(str(made.folder), "one", "data", s3) as folder:
        assert transfer(folder, [SHARD], out) == 100  # a partial file goes on by a range of the object
        transfer(folder, folder.files, out)
    assert all_files(out) == all_files(drop)


@pytest.mark.slow
def test_a_killed_fetch_goes_on(s3: str, tmp_path: Path) -> None:
    made = Repository(tmp_path)
    drop = write_catalog(tmp_path / "drop", 5)
    (drop / BIG).write_bytes(os.urandom(32 * 2**20))
    made.snapshot(drop, remote=s3)
    made.forget()
    out = tmp_path / "out"
    code = f"""
from pathlib import Path
from moon.catalog.dvc_folder import open_folder, transfer
with open_folder({str(made.folder)!r}, "", "data", {s3!r}) as folder:
    transfer(folder, folder.files, Path({str(out)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    partial = out / f"{BIG}.partial"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = partial.stat().st_size if partial.exists() else 0
    with open_folder(str(made.folder), "", "data", s3) as folder:
        brought = transfer(folder, folder.files, out)
        if begun:
            assert brought <= folder.size - begun
    assert all_files(out) == all_files(drop)
