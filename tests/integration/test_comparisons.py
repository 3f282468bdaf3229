import pyarrow as pa
import pytest

from forebay.documents import DOCUMENTS
from forebay.settings import DuplicateSettings
from forebay.tables import comparison_table, document_table
from spark_jobs import broadcasts, lance_frames
from spark_jobs.parse_documents.comparisons import compare_documents
from spark_jobs.parse_documents.signatures import bands_of, shingles_of
from spark_jobs.parse_documents.tables import DocumentTables

pytestmark = pytest.mark.integration

_SETTINGS = DuplicateSettings()
_TEXT = "the lift of a slender wing in supersonic flow is found by linear theory and compared with tests"


def _row(doc_id, text, run_id, source="one"):
    fixed = {"shard": 0, "uri": doc_id, "title": "", "format": "text", "language": "en", "metadata": "{}"}
    hashes = {"content_hash": text, "bands": bands_of(shingles_of(text))}
    return fixed | hashes | {"doc_id": doc_id, "source": source, "text": text, "run_id": run_id}


class _Corpus:
    """Runs of the comparison over documents that are written as the job writes them."""

    def __init__(self, spark, folder):
        self._spark, self._folder, self._runs = spark, folder, 0

    def run(self, texts=(), removed=(), settings=_SETTINGS, *, is_published=True, source="one"):
        """Write documents by id, remove others, compare; give who compared each pair, and how alike they are."""
        self._runs += 1
        run_id = f"run {self._runs}"
        tables = DocumentTables.prepare(self._folder, run_id)
        tables.documents.delete_keys("doc_id", [*dict(texts), *removed])
        rows = [_row(doc_id, text, run_id, source) for doc_id, text in dict(texts).items()]
        tables.documents.append(pa.Table.from_pylist(rows, DOCUMENTS))
        compare_documents(self._spark, tables, settings, run_id)
        held = tables.comparisons.newest().to_table().to_pylist()
        if is_published:
            tables.publish(settings)
        return {
            f"{row['one']}{row['other']}": (row["run_id"].removeprefix("run "), round(row["similarity"], 2))
            for row in held
        }


@pytest.fixture(params=[0, 100_000])
def corpus(spark, tmp_path, monkeypatch, request):
    """A corpus none of whose frames are few rows, or all."""
    monkeypatch.setattr(broadcasts, "FEW_ROWS", request.param)
    return _Corpus(spark, tmp_path)


def test_only_pairs_of_documents_that_a_run_has_written_are_compared(corpus):
    assert corpus.run({"a": _TEXT, "b": _TEXT, "x": "words of its own"}) == {"ab": ("1", 1)}
    assert corpus.run({"c": _TEXT}) == {"ab": ("1", 1), "ac": ("2", 1), "bc": ("2", 1)}
    changed = corpus.run({"b": f"{_TEXT} again"})
    assert changed["ac"] == ("2", 1)
    assert changed["ab"][0] == changed["bc"][0] == "3"
    assert 0.5 < changed["ab"][1] < 1


def test_pairs_that_are_none_any_more_are_forgotten(corpus):
    corpus.run({"a": _TEXT, "b": _TEXT, "c": _TEXT})
    assert corpus.run({"c": "entirely other words than before"}) == {"ab": ("1", 1)}
    assert corpus.run(removed=["a"]) == {}


def test_old_documents_are_compared_once_one_between_them_is_gone(corpus):
    # Each is paired with the first and with the one before it.
    first = corpus.run({"a": _TEXT, "b": _TEXT, "c": _TEXT, "d": _TEXT})
    assert sorted(first) == ["ab", "ac", "ad", "bc", "cd"]
    assert corpus.run(removed=["a"]) == {"bc": ("1", 1), "bd": ("2", 1), "cd": ("1", 1)}


def test_comparisons_of_a_run_that_was_not_published_count_for_nothing(corpus):
    corpus.run({"a": _TEXT, "b": _TEXT})
    corpus.run({"c": _TEXT}, is_published=False)
    assert corpus.run({"d": _TEXT}) == {"ab": ("1", 1), "ad": ("3", 1), "bd": ("3", 1)}


def test_where_documents_were_published_without_them_all_are_compared(corpus):
    corpus.run({"a": _TEXT, "b": _TEXT})
    tables = DocumentTables.prepare(corpus._folder, "another")
    tables.documents.append(pa.Table.from_pylist([_row("c", _TEXT, "another")], DOCUMENTS))
    tables.documents.publish()
    assert {run for run, _ in corpus.run().values()} == {"2"}


def test_a_run_that_dies_between_publishing_documents_and_comparisons_makes_the_next_one_compare_all(corpus):
    corpus.run({"a": _TEXT, "b": _TEXT})
    corpus.run({"b": f"{_TEXT} again"}, is_published=False)
    document_table(corpus._folder).publish()
    (found,) = corpus.run().values()
    assert found[0] == "3"
    assert found[1] < 1


def test_a_run_that_changes_nothing_writes_nothing(corpus):
    corpus.run({"a": _TEXT, "b": _TEXT})
    version = comparison_table(corpus._folder).newest().version
    corpus.run({"x": "words of its own"})
    assert comparison_table(corpus._folder).newest().version == version


def test_settings_that_come_back_are_not_taken_for_those_of_the_duplicates(tmp_path):
    tables = DocumentTables.prepare(tmp_path, "run")
    before, after = DuplicateSettings(), DuplicateSettings(threshold=0.5)
    tables.publish(before)
    assert tables.are_deduplicated(before)
    tables.begin()
    assert not tables.are_deduplicated(before)
    tables.publish(after)
    assert tables.are_deduplicated(after)
    assert not tables.are_deduplicated(before)


def test_a_wider_scope_compares_what_was_not(corpus):
    narrow = DuplicateSettings(scope="source")
    corpus.run({"a": _TEXT, "b": _TEXT}, settings=narrow)
    assert corpus.run({"c": _TEXT}, settings=narrow, source="two") == {"ab": ("1", 1)}
    assert corpus.run() == {"ab": ("1", 1), "ac": ("3", 1), "bc": ("3", 1)}


def test_many_texts_are_found_as_well(corpus, monkeypatch):
    monkeypatch.setattr(lance_frames, "_LOOKED_UP_KEYS", 0)
    assert corpus.run({"a": _TEXT, "b": _TEXT}) == {"ab": ("1", 1)}
