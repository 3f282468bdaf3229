import os
import pickle
import shutil
import subprocess
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from dulwich import porcelain
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import UnreadableError
from forebay.sources.git import GitSource
from forebay.sources.git_address import GitAddress
from forebay.sources.git_mirror import GitMirror
from tests.programs import require_git


@pytest.fixture
def origin(tmp_path):
    """A repository with two commits, a branch, a tag, a link and hidden files."""
    folder = tmp_path / "origin"
    porcelain.init(folder).close()
    write(folder, {"a.txt": "old", "docs/b.md": "# beta", "docs/deep/c.jsonl": '{"text": "c"}\n'})
    commit(folder)
    write(folder, {"a.txt": "alpha", ".hidden/d.txt": "x", "queries.jsonl": "{}", "tool.exe": "x"})
    (folder / "link.txt").symlink_to("a.txt")
    commit(folder)
    return folder


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(folder):
    porcelain.add(folder)
    return porcelain.commit(folder, message=b"x", author=b"A <a@b>", committer=b"A <a@b>", sign=False)


def opened(origin, rest=""):
    return GitSource(f"git+file://{origin}{rest}", origin.parent / "cache")


def contents(source):
    units = source.changes().units
    return {record.uri: record.data for unit in units for record in source.read(unit, 1000) if hasattr(record, "data")}


def test_files_of_the_newest_commit_are_listed_and_read(origin):
    source = opened(origin)
    assert {unit.uri: unit.format for unit in source.changes().units} == {
        "a.txt": "text",
        "docs/b.md": "markdown",
        "docs/deep/c.jsonl": "jsonl",
        "tool.exe": "unsupported",
    }
    assert contents(source) == {"a.txt": b"alpha", "docs/b.md": b"# beta", "docs/deep/c.jsonl#L1": b'{"text": "c"}'}


def test_the_version_is_the_id_of_the_blob(origin):
    versions = {unit.uri: unit.version for unit in opened(origin).changes().units}
    # `printf alpha | git hash-object --stdin`
    assert versions["a.txt"] == "7e74e68b2a782a3aead46d987a63ca1c91091c13"


def test_an_equal_cursor_lists_nothing_and_deletes_nothing(origin):
    first = opened(origin).changes()
    assert first.is_snapshot
    again = opened(origin).changes(first.cursor)
    assert (again.units, again.cursor, again.is_snapshot) == ([], first.cursor, False)
    write(origin, {"a.txt": "new"})
    commit(origin)
    after = opened(origin).changes(first.cursor)
    assert after.is_snapshot
    assert after.cursor != first.cursor
    assert contents(opened(origin))["a.txt"] == b"new"
    assert contents(opened(origin))["docs/b.md"] == b"# beta"


def test_a_sub_folder_and_a_single_file(origin):
    assert sorted(contents(opened(origin, "?path=docs"))) == ["b.md", "deep/c.jsonl#L1"]
    assert sorted(contents(opened(origin, "?path=docs/deep/"))) == ["c.jsonl#L1"]
    assert sorted(contents(opened(origin, "?path=docs/b.md"))) == ["b.md"]
    folder, whole = opened(origin, "?path=docs").changes(), opened(origin).changes()
    assert folder.cursor != whole.cursor


def test_branches_and_tags(origin):
    porcelain.branch_create(origin, "side/way")
    porcelain.tag_create(origin, "v1", annotated=True, author=b"A <a@b>", message=b"x", sign=False)
    write(origin, {"a.txt": "newer"})
    commit(origin)
    assert contents(opened(origin, "#v1"))["a.txt"] == b"alpha"
    assert contents(opened(origin, "#side/way"))["a.txt"] == b"alpha"
    assert contents(opened(origin))["a.txt"] == b"newer"


@pytest.mark.parametrize("rest", ["#no-such-branch", "?path=no-such-folder", "?path=a.txt/x", "?path=link.txt"])
def test_what_the_repository_lacks_is_a_named_error(origin, rest):
    with pytest.raises(ConfigurationError, match=r"no-such|folder"):
        opened(origin, rest).changes()


def test_a_repository_that_is_not_there_or_empty_is_a_named_error(tmp_path):
    with pytest.raises(ConfigurationError, match="can't be fetched"):
        opened(tmp_path / "nowhere").changes()
    porcelain.init(tmp_path / "empty").close()
    with pytest.raises(ConfigurationError, match="no commit"):
        opened(tmp_path / "empty").changes()
    with pytest.raises(ConfigurationError, match="can't be fetched"):
        GitSource("git+http://127.0.0.1:9/repo.git", tmp_path).changes()


def test_the_source_travels_to_a_machine_without_a_mirror(origin, tmp_path):
    source = opened(origin)
    units = {unit.uri: unit for unit in source.changes().units}
    shutil.rmtree(tmp_path / "cache")
    travelled = pickle.loads(pickle.dumps(source))
    assert [record.data for record in travelled.read(units["a.txt"], 100)] == [b"alpha"]


def test_a_blob_that_the_newest_commit_lacks_is_unreadable_elsewhere(origin, tmp_path):
    units = {unit.uri: unit for unit in opened(origin).changes().units}
    shutil.rmtree(tmp_path / "cache")
    write(origin, {"a.txt": "new"})
    commit(origin)
    with pytest.raises(UnreadableError) as caught:
        list(opened(origin).read(units["a.txt"], 100))
    assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ
    shutil.rmtree(origin)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UnreadableError, match="can't be fetched") as caught:
        list(opened(origin).read(units["a.txt"], 100))
    assert caught.value.reason == RejectionReason.UNREADABLE


def _cut_index(mirror):
    # Killed after the pack was renamed, before its index was.
    next((mirror / "objects" / "pack").glob("*.idx")).unlink()


def _leave_temporary_pack(mirror):
    shutil.rmtree(mirror)
    Repo.init_bare(str(mirror), mkdir=True).close()
    (mirror / "objects" / "pack" / "tmp123.pack").write_bytes(b"PACK")


def _half_made(mirror):
    shutil.rmtree(mirror)
    (mirror / "objects").mkdir(parents=True)


def _damage_pack(mirror):
    # Longer ago than any fetch: a disk lost it.
    pack = next((mirror / "objects" / "pack").glob("*.pack"))
    os.chmod(pack, 0o644)
    pack.write_bytes(pack.read_bytes()[:40])


@pytest.mark.parametrize("damage", [_cut_index, _leave_temporary_pack, _half_made, _damage_pack])
def test_what_a_killed_fetch_leaves_is_repaired_by_the_next(origin, tmp_path, damage):
    expected = contents(opened(origin))
    (mirror,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    damage(mirror)
    assert contents(opened(origin)) == expected
    (mirror,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert len(list((mirror / "objects" / "pack").glob("*.pack"))) == 1


def test_a_mirror_of_many_packs_is_made_anew(origin, tmp_path, monkeypatch):
    monkeypatch.setattr("forebay.sources.git_mirror._MAX_PACKS", 2)
    for number in range(5):
        write(origin, {"a.txt": f"text {number}"})
        commit(origin)
        assert contents(opened(origin))["a.txt"] == f"text {number}".encode()
        assert len(list((tmp_path / "cache").glob("*/objects/pack/*.pack"))) <= 3


@pytest.mark.parametrize(("limit", "value"), [("_MAX_PACK_BYTES", 50), ("_FETCH_S", -1)])
def test_too_large_and_too_slow_repositories_are_refused(origin, tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(f"forebay.sources.git_mirror.{limit}", value)
    with pytest.raises(ConfigurationError, match=r"(larger|longer) than"):
        opened(origin).changes()
    assert list((tmp_path / "cache").glob("*/objects/pack/*")) == []


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def _git_backend(root):
    """Git's own smart HTTP server, which speaks what the hosts speak."""

    def serve(environ, start_response):
        program = subprocess.run(
            ["git", "http-backend"],
            input=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
            env={
                **os.environ,
                **{key: value for key, value in environ.items() if isinstance(value, str)},
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
            },
            capture_output=True,
            check=True,
        )
        head, _, body = program.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
        status = next((value for key, value in headers if key == "Status"), "200 OK")
        start_response(status, [header for header in headers if header[0] != "Status"])
        return [body]

    return serve


@pytest.fixture(params=["dulwich", "git"])
def address(request, origin):
    if request.param == "git":
        require_git()
    backend = DictBackend({"/origin/.git": Repo(str(origin))})
    app = make_wsgi_chain(backend) if request.param == "dulwich" else _git_backend(origin.parent)
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"git+http://127.0.0.1:{server.server_port}/origin/.git"
        server.shutdown()
        thread.join()


def test_fetching_over_http_goes_on_where_it_stopped(address, origin, tmp_path):
    source = GitSource(address, tmp_path / "cache")
    first = source.changes()
    assert contents(source)["a.txt"] == b"alpha"
    assert source.changes(first.cursor).units == []
    # Back to the text of the first commit, whose history was never fetched.
    write(origin, {"a.txt": "old", "e.txt": "new"})
    commit(origin)
    assert contents(source) | {"docs/deep/c.jsonl#L1": b""} == {
        "a.txt": b"old",
        "docs/b.md": b"# beta",
        "docs/deep/c.jsonl#L1": b"",
        "e.txt": b"new",
    }
    with pytest.raises(ConfigurationError, match="can't be fetched"):
        GitSource(address.replace("/origin/", "/other/"), tmp_path / "cache").changes()


def test_fetching_over_ssh_asks_nobody_and_waits_not_for_ever(origin, tmp_path, monkeypatch):
    require_git()
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nfor last; do :; done\nexec sh -c "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert contents(GitSource(f"git+ssh://git@host{origin}/.git", tmp_path / "cache"))["a.txt"] == b"alpha"
    arguments = (tmp_path / "arguments").read_text()
    assert "BatchMode=yes" in arguments
    assert "ConnectTimeout=60" in arguments
    assert "git@host" in arguments


def test_a_name_is_taken_apart():
    address = GitAddress.parse("git+https://host:8443/team/repo.git?path=/docs/guide/#release/1.0")
    assert address == GitAddress("https://host:8443/team/repo.git", "docs/guide", "release/1.0")
    assert GitAddress.parse("git+ssh://git@host/team/repo.git").url == "ssh://git@host/team/repo.git"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("git+https://user:secret@host/repo.git", "credentials"),
        ("git+https://secret@host/repo.git", "credentials"),
        ("git+ssh://git:secret@host/repo.git", "credentials"),
        ("git+http://host/repo.git", "encryption"),
        ("git+http://127.0.0.1.example.org/repo.git", "encryption"),
        ("git+https:///repo.git", "no host"),
        ("git+https://host", "form"),
        ("git+file://relative/repo", "absolute"),
        ("git+https://host/repo.git?path=../up", "form"),
        ("git+https://host/repo.git?depth=3", "form"),
    ],
)
def test_names_that_must_not_be_are_refused(name, problem, tmp_path):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        GitSource(name, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_mirror_is_shared_by_branches(tmp_path):
    one = GitMirror("https://host/repo.git", tmp_path)
    assert one.__dict__ == GitMirror("https://host/repo.git", tmp_path).__dict__
