"""A bare copy of a remote Git repository, as far as it is read: the newest commits, without their history."""

import fcntl
import shutil
import time
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from dulwich.client import (
    GitClient,
    HTTPUnauthorized,
    default_urllib3_manager,
    get_credentials_from_store,
    get_transport_and_path_from_url,
)
from dulwich.config import StackedConfig
from dulwich.errors import ApplyDeltaError, ChecksumMismatch, FileFormatException, NotGitRepository
from dulwich.object_store import peel_sha
from dulwich.objects import ObjectID
from dulwich.refs import Ref
from dulwich.repo import Repo

from forebay.documents import content_hash
from forebay.errors import ConfigurationError

__all__ = ["BROKEN", "GitMirror"]

BROKEN = (
    KeyError,
    OSError,
    ValueError,
    zlib.error,
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    NotGitRepository,
)
"""What a mirror raises that isn't there, or whose files were damaged."""

_SILENCE_S = 60
"""Longest wait for the next byte."""
_FETCH_S = 1800
"""Longest fetch."""
_MAX_PACK_BYTES = 4 * 2**30
"""Largest fetch."""
_MAX_PACKS = 32
"""Every fetch leaves a pack; a mirror with more is made anew."""
_SSH = f"ssh -o BatchMode=yes -o ConnectTimeout={_SILENCE_S} -o ServerAliveInterval=15 -o ServerAliveCountMax=4"


class GitMirror:
    """Objects of one remote repository in a folder of their own; any number of processes may use it at once.

    A fetch that is killed leaves nothing that counts: objects become visible when their index is renamed into place,
    and a branch only after that.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url
        self._folder = cache / content_hash(url)

    def update(self, branch: str) -> ObjectID:
        """Fetch the newest commit of a branch or tag, or of the remote's HEAD where it is empty.

        Returns:
            Its id.

        Raises:
            ConfigurationError: the remote can't be reached, is too large or too slow, or has no such branch.
        """
        with self._locked():
            try:
                return self._fetch(branch)
            except ConfigurationError:
                raise
            except HTTPUnauthorized as exc:
                raise ConfigurationError(
                    f"{self._url} wants a login; put one for its host into ~/.git-credentials."
                ) from exc
            # dulwich has no base of its exceptions, and those of sockets, ssh and TLS come through.
            except Exception as exc:
                raise ConfigurationError(
                    f"the Git repository {self._url} can't be fetched ({type(exc).__name__}: {str(exc)[:200]}); check "
                    f"the address and the network, and whether `git ls-remote` works; {self._folder} can be removed."
                ) from exc

    @contextmanager
    def open(self) -> Generator[Repo]:
        """Open what has been fetched.

        Raises:
            NotGitRepository: nothing has, on this machine; what is read of a damaged copy raises one of `BROKEN`.
        """
        repository = Repo(str(self._folder), bare=True)
        try:
            yield repository
        finally:
            repository.close()

    def discard(self) -> None:
        """Remove the copy, so that the next fetch begins anew; what other processes have open stays readable."""
        with self._locked():
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Generator[None]:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with self._folder.with_suffix(".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _fetch(self, branch: str) -> ObjectID:
        self._repair()
        client, path = _connect(self._url)
        chosen: list[ObjectID] = []
        with self.open() as repository:
            store = repository.object_store

            def choose(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
                chosen.append(_pick(refs, branch, self._url))
                return [] if chosen[0] in store else chosen

            pack, commit, abort = store.add_pack()
            try:
                write, progress = _within_limits(pack.write)
                walker = repository.get_graph_walker()
                found = client.fetch_pack(path, choose, walker, write, progress=progress, depth=1)
                # Before the objects: a commit whose parents were never fetched must not pass for a whole history.
                repository.update_shallow(found.new_shallow, found.new_unshallow)
            except BaseException:
                abort()
                raise
            if not chosen:
                # dulwich doesn't ask what to fetch where the remote is empty.
                chosen.append(_pick({}, branch, self._url))
            (abort if chosen[0] in store else commit)()
            head = peel_sha(store, chosen[0])[1].id
            repository.refs[Ref(b"refs/heads/" + content_hash(branch).encode())] = head
            return head

    def _repair(self) -> None:
        packs = self._folder / "objects" / "pack"
        try:
            with self.open() as repository:
                for sha in repository.refs.as_dict(Ref(b"refs/heads")).values():
                    repository.object_store.get_raw(sha)
                is_whole = packs.is_dir() and len(list(packs.glob("*.idx"))) <= _MAX_PACKS
        except BROKEN:
            is_whole = False
        if not is_whole:
            shutil.rmtree(self._folder, ignore_errors=True)
            Repo.init_bare(str(self._folder), mkdir=True).close()
        for path in packs.glob("*.pack"):
            # A fetch was killed before it wrote the index.
            if not path.with_suffix(".idx").exists():
                path.unlink()


def _connect(url: str) -> tuple[GitClient, str]:
    config = StackedConfig.default()
    parts = urlsplit(url)
    login: tuple[str | None, str | None] = (None, None)
    if parts.scheme in ("http", "https") and parts.hostname:
        login = next(get_credentials_from_store(parts.scheme, parts.hostname), login)
    return get_transport_and_path_from_url(
        url,
        config=config,
        quiet=True,
        username=login[0],
        password=login[1],
        ssh_command=_SSH,
        pool_manager=cast("Any", default_urllib3_manager(config, base_url=url, timeout=_SILENCE_S)),
    )


def _pick(refs: Mapping[Ref, ObjectID], branch: str, url: str) -> ObjectID:
    names = [f"refs/heads/{branch}", f"refs/tags/{branch}"] if branch else ["HEAD"]
    for name in names:
        if found := refs.get(Ref(name.encode())):
            return found
    wanted = f"no branch or tag {branch!r}" if branch else "no commit"
    raise ConfigurationError(f"the Git repository {url} has {wanted}; name one that it has behind a '#'.")


def _within_limits(write: Callable[[bytes], int]) -> tuple[Callable[[bytes], int], Callable[[bytes], None]]:
    end_s = time.monotonic() + _FETCH_S
    size_bytes = 0

    def check(message: bytes) -> None:
        if time.monotonic() > end_s:
            raise TimeoutError(f"it takes longer than {_FETCH_S} s")

    def checked_write(data: bytes) -> int:
        nonlocal size_bytes
        check(b"")
        size_bytes += len(data)
        if size_bytes > _MAX_PACK_BYTES:
            raise ValueError(f"its newest commit alone is larger than {_MAX_PACK_BYTES} bytes")
        return write(data)

    return checked_write, check
