"""A real cross-encoder, tiny and untrained: a BERT with one label whose scores differ from pair to pair."""

import json

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_CHARS = "abcdefghijklmnopqrstuvwxyz0123456789"
_VOCABULARY = [*_SPECIAL, *_CHARS, *(f"##{char}" for char in _CHARS)]
MAX_TOKENS = 64


def write_cross_encoder(folder, *, labels=1, broken_char=None):
    """Write the model into a folder; for what has `broken_char` after another letter, the score is not a number."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(_VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS,
        num_labels=labels,
        # Far from 0, so that every word counts.
        initializer_range=0.6,
    )
    model = BertForSequenceClassification(config)
    if broken_char:
        with torch.no_grad():
            model.bert.embeddings.word_embeddings.weight[_VOCABULARY.index(f"##{broken_char}")] = float("nan")
    model.save_pretrained(folder)
    words = Tokenizer(WordPiece({word: number for number, word in enumerate(_VOCABULARY)}, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=MAX_TOKENS,
    ).save_pretrained(folder)
    return folder


def rewrite_config(folder, **changes):
    """Change fields of the model's config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), "utf-8")
    return folder
