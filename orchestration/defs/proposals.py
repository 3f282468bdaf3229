"""Golden questions that the corpus itself proposes, for who has none."""

import dagster as dg

from forebay.settings import PathSettings
from forebay.tables import chunk_table
from orchestration.defs.chunks import chunks
from quality.proposed_questions import propose_questions, save_proposed

__all__ = ["ProposalConfig", "proposed_questions"]

_SHOWN = 20


class ProposalConfig(dg.Config):
    """How many questions, and which."""

    questions: int = 200
    """Questions wanted."""
    seed: int = 1
    """Another one gives other questions."""


@dg.asset(deps=[chunks], kinds={"python"}, group_name="proposals")
def proposed_questions(config: ProposalConfig) -> dg.MaterializeResult:
    """Synthetic questions of words that few passages have; no gate uses them, `forebay eval --queries` does."""
    paths = PathSettings()
    found = propose_questions(chunk_table(paths.tables), config.questions, config.seed)
    folder = paths.data.absolute() / "golden-proposed"
    save_proposed(found, folder)
    rows = [f"| {text} | {', '.join(found.qrels[name])} |" for name, text in list(found.queries.items())[:_SHOWN]]
    table = "\n".join(["| synthetic question | document |", "|---|---|", *rows])
    return dg.MaterializeResult(
        metadata={
            "questions": len(found.queries),
            "folder": dg.MetadataValue.path(str(folder)),
            "first": dg.MetadataValue.md(table),
        }
    )
