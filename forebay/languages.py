"""Languages whose words are stemmed, and which of their stemmers reads a document."""

__all__ = ["BY_DOCUMENT", "STEMMERS", "UNDETERMINED", "UNSTEMMED", "is_stemmer", "stemmer_of"]

BY_DOCUMENT = "document"
"""Instead of a language: every document's own."""
UNSTEMMED = "unstemmed"
"""Instead of a stemmer: words as they are written, none of them a stop word."""
UNDETERMINED = "und"
"""Language of a document that has too few words to tell."""
STEMMERS = {
    "ar": "arabic",
    "az": "azerbaijani",
    "bn": "bengali",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "he": "hebrew",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "ja": "japanese",
    "kk": "kazakh",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sl": "slovene",
    "sv": "swedish",
    "tg": "tajik",
    "tr": "turkish",
    "zh": "chinese",
}
"""Qdrant's stemmer and stop words by ISO 639-1 code; of some languages it has stop words only."""
_OTHER_NAMES = {"hinglish", "hi-en", "jp"}


def is_stemmer(name: str) -> bool:
    """Say whether Qdrant knows a language by this name, or by this code."""
    return name in STEMMERS.values() or name in STEMMERS.keys() - {"ja"} or name in _OTHER_NAMES


def stemmer_of(language: str, setting: str, fallback: str) -> str:
    """Choose the stemmer of a document.

    Args:
        language: Of the document: an ISO 639-1 code, or `und`.
        setting: A stemmer that reads every document, or `BY_DOCUMENT`.
        fallback: Stemmer of documents whose language isn't known.
    """
    if setting != BY_DOCUMENT:
        return setting
    if language in ("", UNDETERMINED):
        return fallback
    return STEMMERS.get(language, UNSTEMMED)
