"""What an NVIDIA GPU computes is what the processor computes; skipped where there is none."""

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from forebay.chunks import embedded_text
from forebay.embedding.choice import calibrate, candidate_specs
from forebay.embedding.parity_texts import PARITY_TEXTS
from forebay.embedding.sentence_transformer import SentenceTransformerEmbedder, engine_of
from forebay.machine import computes_on_gpu
from forebay.models import model_folder
from forebay.reranking.cross_encoder import CrossEncoderScorer
from forebay.settings import EmbeddingSettings, PathSettings, SparkSettings
from spark_jobs.embed_chunks.transforms import vectors_of
from spark_jobs.gpu_executors import embedding_tasks
from tests.cross_encoder import write_cross_encoder

pytestmark = pytest.mark.skipif(not computes_on_gpu(), reason="no NVIDIA GPU here, or a torch that can't use it")

_SETTINGS = EmbeddingSettings(engine="torch")
# Of unlike lengths, so that batches are of many shapes, and more than fit into one window of the tokenizer.
_TEXTS = [f"{number}: " + "flow over a wing at speed " * (number % 40 + 1) for number in range(3000)]


@pytest.fixture(scope="module")
def folder():
    return model_folder(_SETTINGS.model, PathSettings().models)


@pytest.fixture(scope="module")
def on_cpu(folder):
    """sentence-transformers itself, in fp32 on the processor."""
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def _embedder(folder, precision, engine="torch"):
    settings = EmbeddingSettings(engine=engine, precision=precision)
    (spec,) = candidate_specs(settings, folder)
    return SentenceTransformerEmbedder(spec, folder, engine_of(spec, folder, PathSettings().models))


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("fp16", 0.9999), ("bf16", 0.995)])
def test_vectors_are_the_processors(folder, on_cpu, precision, least):
    cosines = (_embedder(folder, precision).embed_documents(PARITY_TEXTS) * on_cpu(PARITY_TEXTS)).sum(axis=1)
    assert cosines.min() >= least


def test_a_text_keeps_its_vector_among_thousands(folder, on_cpu):
    together = _embedder(folder, "fp16").embed_documents(_TEXTS)
    some = range(0, len(_TEXTS), 97)
    cosines = (together[some] * on_cpu([_TEXTS[number] for number in some])).sum(axis=1)
    assert cosines.min() >= 0.9999
    # Neighbours are near to each other: not so near that a mix-up would pass.
    assert (together[some] * together[[number + 1 for number in some]]).sum(axis=1).max() < 0.9999


def test_the_choice_is_torch_in_an_arithmetic_with_parity(folder, tmp_path):
    found = calibrate(candidate_specs(EmbeddingSettings(), folder), folder, tmp_path)
    assert found.chosen.engine == "torch"
    assert {measured.precision for measured in found.measured} == {"fp32", "fp16", "bf16"}
    (chosen,) = [m for m in found.measured if m.precision == found.chosen.precision]
    assert chosen.has_parity


def test_tasks_of_a_local_session_share_the_gpu(spark, folder, on_cpu):
    (spec,) = candidate_specs(EmbeddingSettings(engine="torch", precision="fp16"), folder)
    rows = [{"text_hash": str(n), "title": "", "heading_path": "", "text": text} for n, text in enumerate(_TEXTS[:400])]
    frame = spark.createDataFrame(rows, "text_hash string, title string, heading_path string, text string")
    tasks = embedding_tasks(spec.engine, SparkSettings(), spark.sparkContext.defaultParallelism)
    made = vectors_of(frame, spec, PathSettings().models, tasks=tasks, batch_tokens=None, run_id="x").collect()
    assert sorted(int(row.text_hash) for row in made) == list(range(400))
    vectors = np.array([row.vector for row in sorted(made, key=lambda row: int(row.text_hash))])
    cosines = (vectors * on_cpu([embedded_text("", "", row["text"]) for row in rows])).sum(axis=1)
    assert cosines.min() >= 0.9999


def test_a_reranker_scores_as_on_the_processor(tmp_path):
    folder = write_cross_encoder(tmp_path)
    pairs = [(question, "a shock wave on a cone " * n) for question in ("wing lift", "shock") for n in range(1, 9)]
    expected = CrossEncoder(str(folder), device="cpu", local_files_only=True).predict([list(pair) for pair in pairs])
    assert np.ptp(expected) > 0.01
    scorer = CrossEncoderScorer(folder)
    np.testing.assert_allclose(scorer.score(scorer.encode(pairs)), expected, atol=1e-3)
