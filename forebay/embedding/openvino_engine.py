"""The OpenVINO engine: the model as a compiled graph for the processor, its matrices in 8 bits where that is wanted.

int8 means: weights in 8 bits with one scale for 64 of them, activations quantized while the model runs, with one scale
for 64 numbers of a token. So no text and no token changes the rounding of another.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.engine import TokenBatch
from forebay.models import made_once

__all__ = ["OpenVinoEngine", "exported_model", "quantized_model"]

_GROUP = 64
# Batches for each thread from which on it is worth it to compile the model a second time (0.3 s).
_FEW = 4
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoEngine:
    """Runs the model with OpenVINO; see `Engine`."""

    def __init__(self, graph: Path, precision: Literal["fp32", "bf16", "int8"], *, threads: int | None = None) -> None:
        """Compile a model.

        Args:
            graph: As `exported_model` gives it, for int8 as `quantized_model` does.
            precision: What it computes in.
            threads: Threads that compute; all cores if None.
        """
        import openvino as ov

        core = ov.Core()
        model = core.read_model(graph)
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP if precision == "int8" else 0),
            # Pinned, the workers of one machine would all compute on its first cores.
            "ENABLE_CPU_PINNING": False,
            # 0: all cores.
            "INFERENCE_NUM_THREADS": threads or 0,
        }
        self._threads = threads or os.cpu_count() or 1
        # A worker of one thread has no use for the model once it is compiled.
        self._source = (core, model) if self._threads > 1 else None
        self._request = core.compile_model(model, "CPU", self._options).create_infer_request()

    @property
    def batch_tokens(self) -> int:
        """See `Engine`; more of them only leave the processor's caches."""
        return 1024

    def __call__(self, batches: Iterable[TokenBatch]) -> Iterator[NDArray[np.float32]]:
        """Run batches; see `Engine`. Of few, each has all threads; of many, each thread has its own."""
        rest = iter(batches)
        few = _FEW * self._threads
        first = list(islice(rest, few))
        if self._source is None or len(first) < few:
            for tokens, is_token in chain(first, rest):
                yield self._request.infer({0: tokens, 1: is_token})[0].copy()
            return
        free = [self._compiled_for_many.create_infer_request() for _ in range(self._threads)]
        under_way = deque[Any]()
        for tokens, is_token in chain(first, rest):
            if not free:
                yield _finished(under_way[0])
                free.append(under_way.popleft())
            request = free.pop()
            request.start_async({0: tokens, 1: is_token})
            under_way.append(request)
        yield from map(_finished, under_way)

    @cached_property
    def _compiled_for_many(self) -> Any:
        """The model with a stream for each thread: none waits for another in every layer."""
        assert self._source is not None
        core, model = self._source
        options = self._options | {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": self._threads}
        return core.compile_model(model, "CPU", options)


def _finished(request: Any) -> NDArray[np.float32]:
    request.wait()
    return request.get_output_tensor(0).data.copy()


def exported_model(folder: Path, revision: str, exports: Path) -> Path:
    """Give the model as OpenVINO's intermediate representation, made from its own files the first time.

    Args:
        folder: The sentence-transformers model.
        revision: Hash of its files; names the export.
        exports: Where exports are kept.
    """
    import openvino as ov

    target = exports / f"openvino-{revision[:16]}"
    if not target.exists():
        with made_once(target) as staging:
            ov.save_model(_converted(folder), staging / "model.xml", compress_to_fp16=False)
    return target / "model.xml"


def quantized_model(graph: Path) -> Path:
    """Give an exported model with its matrices in 8 bits, made of it the first time.

    Quantized anew in each process, it took 40 MB more there, and 0.2 s and more of its start.
    """
    import openvino as ov

    target = graph.parent.with_name(f"{graph.parent.name}-int8")
    if not target.exists():
        with made_once(target) as staging:
            model = ov.Core().read_model(graph)
            _quantize_weights(model)
            ov.save_model(model, staging / graph.name, compress_to_fp16=False)
    return target / graph.name


def _converted(folder: Path) -> Any:
    import warnings

    import openvino as ov
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()

    class Pooled(torch.nn.Module):
        """The model as a function of two tensors, which is what can be traced."""

        def __init__(self) -> None:
            super().__init__()
            self.model = SentenceTransformer(str(folder), device="cpu", local_files_only=True).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    # Two texts of different lengths: with equal ones the trace would leave the mask out.
    example = {"input_ids": torch.ones(2, 7, dtype=torch.int64), "attention_mask": torch.ones(2, 7, dtype=torch.int64)}
    example["attention_mask"][1, 5:] = 0
    with warnings.catch_warnings():
        # Tracing warns of every Python condition; the parity check is what finds a wrong graph.
        warnings.simplefilter("ignore")
        return ov.convert_model(Pooled(), example_input=example, input=[ov.PartialShape([-1, -1])] * 2)


def _quantize_weights(model: Any) -> None:
    """Replace the matrices of linear layers by 8-bit ones with a scale per row and group of 64."""
    import openvino as ov
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = node.input_value(1).get_node()
        if constant.get_type_name() != "Constant" or len(constant.shape) != 2:
            continue
        is_transposed = node.get_attributes()["transpose_b"]
        weights = constant.data if is_transposed else constant.data.T
        n_out, n_in = weights.shape
        if n_in % _GROUP:
            continue
        grouped = weights.astype(np.float32).reshape(n_out, n_in // _GROUP, _GROUP)
        scales = np.maximum(np.abs(grouped).max(axis=2, keepdims=True), np.finfo(np.float32).tiny) / 127
        quantized = ops.convert(ops.constant(np.round(grouped / scales).astype(np.int8)), "f32")
        restored = ops.reshape(
            ops.multiply(quantized, ops.constant(scales)), ops.constant(np.array([n_out, n_in])), special_zero=False
        )
        ov.utils.replace_node(node, ops.matmul(node.input_value(0), restored, False, True))
