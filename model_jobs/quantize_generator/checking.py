"""Whether a quantized model is still what it was: perplexity on held-out text, questions answered alike."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["QUESTIONS", "Question", "Verdict", "compare", "judge"]

MAX_PERPLEXITY_RATIO = 1.10
"""The quantized model's perplexity on held-out text may be this much higher."""
MIN_KNOWN_SHARE = 0.5
"""Share of the questions that the base model must answer, for the questions to say anything."""


@dataclass(frozen=True)
class Question:
    """A question whose answer stands in its passage."""

    passage: str
    """What the model is given."""
    question: str
    """What it is asked."""
    key: str
    """Phrase that a right answer contains, in lower case."""


QUESTIONS = [
    Question(
        "The Eiffel Tower was completed in 1889 and is 330 metres tall.",
        "How tall is the Eiffel Tower?",
        "330",
    ),
    Question("Marie Curie was born in Warsaw in 1867.", "In which city was Marie Curie born?", "warsaw"),
    Question("Water boils at 100 degrees Celsius at sea level.", "At how many degrees does water boil?", "100"),
    Question("The invoice was paid on Tuesday by the Oslo office.", "Which office paid the invoice?", "oslo"),
    Question("The wing was tested at a Mach number of 4.5.", "At what Mach number was the wing tested?", "4.5"),
    Question("Our support desk opens at nine and closes at five.", "When does the support desk open?", "nine"),
    Question("The pump is made of steel, the valve of brass.", "What is the pump made of?", "steel"),
    Question("Anna leads the sales team; Peter leads research.", "Who leads the sales team?", "anna"),
]


@dataclass(frozen=True)
class Findings:
    """What was measured on one model."""

    perplexity: float
    """exp of the mean negative log-likelihood per token of the held-out text."""
    answers: tuple[str, ...]
    """Its greedy answers to the questions."""


@dataclass(frozen=True)
class Verdict:
    """What the check found; the fields of `awq-check.json`."""

    passed: bool
    reason: str
    perplexity_base: float
    perplexity_awq: float
    ratio: float
    answers_same: int
    answers_total: int

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON."""
        return asdict(self)


def compare(base: Path, quantized: Path, held_out: list[list[int]]) -> Verdict:
    """Measure both models, in fp32 on the CPU, and judge.

    Args:
        base: Folder of the unquantized checkpoint.
        quantized: Folder of the quantized one.
        held_out: Text that did not calibrate, as token ids, all windows of one length.
    """
    return judge(_measure(base, held_out), _measure(quantized, held_out), QUESTIONS)


def judge(base: Findings, quantized: Findings, questions: list[Question]) -> Verdict:
    """Compare two models' findings.

    Only questions that the base model answers count; the quantized model must answer each of them too.
    """
    ratio = quantized.perplexity / base.perplexity
    known = [position for position, question in enumerate(questions) if question.key in base.answers[position].lower()]
    same = [position for position in known if questions[position].key in quantized.answers[position].lower()]
    problems: list[str] = []
    if not ratio <= MAX_PERPLEXITY_RATIO:
        problems.append(f"perplexity on held-out text is {ratio:.3f} times the base's (at most {MAX_PERPLEXITY_RATIO})")
    if len(known) < MIN_KNOWN_SHARE * len(questions):
        problems.append(f"the base model answers only {len(known)} of {len(questions)} questions, too few to compare")
    lost = [questions[position].question for position in known if position not in same]
    if lost:
        problems.append(f"{len(lost)} of {len(known)} questions are no longer answered, such as {lost[0]!r}")
    return Verdict(
        passed=not problems,
        reason="; ".join(problems) or "perplexity and answers are as the base model's",
        perplexity_base=base.perplexity,
        perplexity_awq=quantized.perplexity,
        ratio=ratio,
        answers_same=len(same),
        answers_total=len(known),
    )


def _measure(folder: Path, held_out: list[list[int]]) -> Findings:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Findings(
        perplexity=_perplexity(model, held_out),
        answers=tuple(_answer(model, tokenizer, question) for question in QUESTIONS),
    )


@torch.inference_mode()
def _perplexity(model: Any, windows: list[list[int]]) -> float:
    losses = [float(model(input_ids=ids, labels=ids).loss) for ids in torch.tensor(windows).split(4)]
    return math.exp(sum(losses) / len(losses))


@torch.inference_mode()
def _answer(model: Any, tokenizer: Any, question: Question) -> str:
    prompt = f"{question.passage}\n\nAnswer from this passage in a few words: {question.question}"
    conversation = [{"role": "user", "content": prompt}]
    inputs = tokenizer.apply_chat_template(
        conversation, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=32, do_sample=False)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
