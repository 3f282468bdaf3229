"""What must be true of the vectors that a run wrote."""

from pathlib import Path

import numpy as np

from forebay.chunks import embedded_text
from forebay.embedding.tokens import loaded_tokenizer
from forebay.tables import Table
from quality.suites.sampling import sample_of_run
from quality.validate import CheckOutcome, Suite, validate

__all__ = ["EMBEDDING_CHECKS", "EMBEDDING_METRICS", "check_embeddings"]

EMBEDDING_CHECKS = (
    "every_chunk_has_a_vector",
    "embedded_texts_are_unique",
    "vectors_have_the_right_dimension",
    "vectors_are_finite_unit_vectors",
    "vectors_differ",
)
"""Names of the checks that `check_embeddings` gives."""

EMBEDDING_METRICS = ("wrong_dimension", "not_finite", "not_unit_length")
"""Counts over every row, made by Spark while it writes; a group of rows with any of them above 0 is not kept."""

NORM_TOLERANCE = 1e-3
"""Largest distance of a vector's length from 1."""

_MANY_TEXTS = 100


def check_embeddings(
    embeddings: Table,
    chunks: Table,
    model: Path,
    *,
    missing: int,
    duplicates: int,
    run_id: str,
    docs: Path,
) -> list[CheckOutcome]:
    """Check the vectors of a run.

    Args:
        embeddings: The table with the run's rows, not yet published.
        chunks: The table with the published chunks that were embedded.
        model: Folder of the model, whose tokenizer tells which texts it reads alike.
        missing: Chunk texts without a vector.
        duplicates: Texts with more than one vector.
        run_id: The run.
        docs: Folder of the reports.
    """
    import great_expectations.expectations as gxe
    import pandas as pd

    dim = embeddings.schema.field("vector").type.list_size
    complete, unique, dimension, unit, differ = ({"check": name} for name in EMBEDDING_CHECKS)
    zero = [("missing", complete), ("duplicates", unique)]
    row = {"missing": missing, "duplicates": duplicates}
    sample = sample_of_run(embeddings, run_id)
    vectors = np.stack([*sample["vector"], np.zeros(dim, np.float32)])[:-1]
    seen = pd.DataFrame(
        {
            "text_hash": sample["text_hash"],
            "dimension": vectors.shape[1],
            "norm": np.linalg.norm(vectors, axis=1),
            "first_components": [vector[:8].tobytes().hex() for vector in vectors],
        }
    )
    shortest, longest = 1 - NORM_TOLERANCE, 1 + NORM_TOLERANCE
    # A model that maps every text to one vector passes all other checks. Some texts may well have one: many models read
    # neither case nor accents, and none how wide the blanks of a table are.
    # The texts are looked up only where there is a reason to.
    has_one = seen["first_components"].nunique() == 1
    is_broken = has_one and _has_many_readings(chunks, list(sample["text_hash"]), model)
    distinct = gxe.ExpectColumnUniqueValueCountToBeBetween(
        column="first_components", min_value=2 if is_broken else 0, meta=differ
    )
    return validate(
        [
            Suite(
                "embeddings_metrics",
                pd.DataFrame([row]),
                [gxe.ExpectColumnValuesToBeBetween(column=name, max_value=0, meta=meta) for name, meta in zero],
            ),
            Suite(
                "embeddings_sample",
                seen,
                [
                    gxe.ExpectColumnValuesToBeUnique(column="text_hash", meta=unique),
                    gxe.ExpectColumnValuesToBeBetween(column="dimension", min_value=dim, max_value=dim, meta=dimension),
                    gxe.ExpectColumnValuesToBeBetween(column="norm", min_value=shortest, max_value=longest, meta=unit),
                    distinct,
                ],
            ),
        ],
        docs / "embeddings",
    )


def _has_many_readings(chunks: Table, text_hashes: list[str], model: Path) -> bool:
    """Say whether the model reads many of the texts differently: as different sets of tokens."""
    import pyarrow.compute as pc

    dataset, tokenizer = chunks.published(), loaded_tokenizer(model)
    if dataset is None:
        return False
    readings: set[frozenset[int]] = set()
    columns = ["title", "heading_path", "text"]
    for batch in dataset.scanner(columns=columns, filter=pc.field("text_hash").isin(text_hashes)).to_batches():
        texts = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in batch.to_pylist()]
        # Sets: an engine that takes the mean of its tokens' vectors reads neither their order nor repetitions.
        readings.update(frozenset(tokens.ids) for tokens in tokenizer.encode_batch(texts))
        if len(readings) >= _MANY_TEXTS:
            return True
    return False
