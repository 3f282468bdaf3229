import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from forebay.embedding import tokens
from forebay.embedding.tokens import TokenCounter
from forebay.errors import ModelError
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings

# What BERT's normaliser drops, divides at, takes apart or makes longer, and what its tokenizer treats alone.
_FRAGMENTS = [
    *(" ", "\n", "\t", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x1f", "\x7f", "\x85", "\xa0", "\xad", "\ufffd", "\ufeff"),
    *("\u1680", "\u180e", "\u2003", "\u200b", "\u2028", "\u2029", "\u202f", "\u3000", "\ue000"),
    *("é", "e\u0301", "\u0301", "\u0327", "İ", "Σ", "ß", "ﬁ", "Å", "각", "\u1100\u1161", "中", "語", "ก็", "👩‍🚀"),
    *("[SEP]", "[UNK]", "[mask]", "new word", "##s", "wings", "Turbine", ".", "'", "$", "^", "x" * 101, "é" * 60),
]
_TEXTS = st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=12), max_size=12).map("".join)
_CORPUS = ["the turbine turns the wings of the water wheel", "new words and new worlds, in newer words"]


def _reference(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    return tokenizer


def _sentence_piece():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"])
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


def _bert(*added, normalizer=None):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=["[UNK]", "[SEP]"])
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_tokens(list(added))
    return tokenizer


_KINDS = {
    "byte-level": _byte_level,
    "sentencepiece": _sentence_piece,
    "bert": lambda: _bert(normalizer=normalizers.BertNormalizer(strip_accents=False, lowercase=True)),
    "bert-unchanged": lambda: _bert(normalizer=normalizers.BertNormalizer(clean_text=False, lowercase=False)),
    "bert-as-it-is": _bert,
    "bert-with-a-blank": lambda: _bert(AddedToken("new word", normalized=False)),
    "bert-with-a-character": lambda: _bert(AddedToken("中"), normalizer=normalizers.BertNormalizer()),
    "bert-joined": lambda: _bert(normalizer=normalizers.Replace(" ", "")),
}


@pytest.fixture(scope="module", params=["default", *_KINDS])
def counters(request, tmp_path_factory):
    if request.param == "default":
        folder = model_folder(EmbeddingSettings().model, PathSettings().models)
    else:
        folder = tmp_path_factory.mktemp(request.param)
        _KINDS[request.param]().save(str(folder / "tokenizer.json"))
    return TokenCounter(folder), _reference(folder)


@given(text=_TEXTS)
@example("a\x0cb \x85 c\x1cd")
@example("a new word, new\nword")
@example("中 中中")
@example("the " * 300 + "turbines " * 300)
def test_counts_are_the_tokenizers_own(counters, text):
    counter, reference = counters
    assert counter(text) == reference(text)


def test_few_words_are_kept_and_no_long_ones(tmp_path, monkeypatch):
    _bert().save(str(tmp_path / "tokenizer.json"))
    counter, reference = TokenCounter(tmp_path), _reference(tmp_path)
    monkeypatch.setattr(tokens, "_MAX_KEPT_WORDS", 8)
    text = " ".join([*(f"water{number}" for number in range(50)), "wheel" * 20])
    assert counter(text) == counter(text) == reference(text)
    assert 0 < len(counter._words) <= 8
    assert max(map(len, counter._words)) < 64


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        TokenCounter(tmp_path)
