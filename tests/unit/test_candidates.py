import pytest

from forebay.candidates import Candidate
from forebay.errors import ReleaseError
from forebay.settings import IndexSettings
from forebay.store.contract import ShardRef
from forebay.testing import HashEmbedder


def candidate(**chunks):
    """A candidate with so many chunks in its shards, which are named as partitions are."""
    shards = {
        int(key.removeprefix("s")): ShardRef(
            number=int(key.removeprefix("s")), path=key, content="c", checksum="x", chunks=count, bytes=1
        )
        for key, count in chunks.items()
    }
    return Candidate(embedding=HashEmbedder().spec, index=IndexSettings(), layout="1", shards=shards, table_versions={})


def test_a_candidate_with_every_chunk_is_whole():
    candidate(s000=3, s002=5).require_whole({"s000": 3, "s001": 0, "s002": 5})


@pytest.mark.parametrize(
    ("chunks", "wrong"),
    [
        ({"s000": 3, "s001": 4, "s002": 5}, "s001"),
        ({"s000": 3, "s002": 6}, "s002"),
        ({"s000": 3}, "s002"),
        ({"s000": 2, "s001": 1, "s002": 5}, "s000, s001"),
    ],
    ids=["a shard was never built", "a shard is out of date", "a shard that the table lacks", "two"],
)
def test_a_candidate_of_some_partitions_is_refused_with_their_names(chunks, wrong):
    with pytest.raises(ReleaseError, match=rf"shards {wrong} hold .* run `ingest_job`"):
        candidate(s000=3, s002=5).require_whole(chunks)


def test_a_candidate_that_lacks_a_thousand_shards_is_one_short_sentence():
    with pytest.raises(ReleaseError, match="1000 in all") as caught:
        candidate().require_whole({f"s{number:03d}": 1 for number in range(1000)})
    assert len(str(caught.value)) < 500


def test_a_candidate_of_an_earlier_version_still_says_how_its_corpus_is_embedded(tmp_path):
    made = candidate(s000=3)
    (tmp_path / "candidate.json").write_text(made.model_dump_json(exclude={"layout"}))
    found = Candidate.load(tmp_path)
    assert found is not None
    assert found.embedding == made.embedding
    assert not found.layout
