"""The WordPiece tokenizer: trained on a corpus or read from a file, and applied to texts.

A vocabulary that is trained twice on the same texts is the same byte for byte, whatever their
order, the process or the number of threads.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.config import TokenizerConfig
from jaxattn.console import say
from jaxattn.data.tokens.accents import stripping
from jaxattn.data.tokens.arrays import OTHER_NAMES, SPECIAL_TOKENS, special_names
from jaxattn.data.tokens.byte_level import VOCAB, read_byte_level
from jaxattn.data.tokens.tokenise import chunks
from jaxattn.errors import InputError
from jaxattn.files import LARGEST_TABLE, read_text, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_COMMON_CHARACTERS = 1000
"""So many characters enter a vocabulary however rare they are; `min_frequency` is for others."""


_FEW_CJK = 0.001
"""Share of CJK characters below which they have a form ##c, which is of no use, as in vocabularies
of 0.2.0: those of English texts stay the same, id by id."""


def _assembled(
    vocab: dict[str, int], lowercase: bool, strip_accents: bool | None = None
) -> "Tokenizer":
    """BERT's pipeline around a vocabulary that holds the five special tokens.

    `strip_accents`: None: where it lower-cases, as BERT does.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return finished(tokenizer, vocab)


def finished(tokenizer: "Tokenizer", vocab: dict[str, int]) -> "Tokenizer":
    """`tokenizer` with the five special tokens of `vocab`, and [CLS] text [SEP] as its form."""
    from tokenizers import AddedToken, processors

    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    return _prepared(tokenizer)


def _prepared(tokenizer: "Tokenizer") -> "Tokenizer":
    # A file may ask for truncation or padding; both are decided here, per call.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # "[SEP]" or "[MASK]" written in a text is text: without this it would become the special id.
    tokenizer.encode_special_tokens = True
    return tokenizer


def train_wordpiece(texts: Sequence[str], config: TokenizerConfig) -> "Tokenizer":
    """A WordPiece vocabulary of at most `config.vocab_size` entries from these texts.

    Ids: the special tokens 0..4, single characters by code point, then merges as they were made.

    Raises:
        InputError: the texts hold no characters.
    """
    from tokenizers import Tokenizer, models, trainers

    draft = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    strip = _strips(texts, config)
    special = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
    whole = _assembled(special, config.lowercase, strip)
    draft.normalizer, draft.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    budget = (config.vocab_size - len(SPECIAL_TOKENS)) * 3 // 4
    characters, pieces = _alphabet(draft, texts, budget, config.min_frequency)
    if not characters:
        raise InputError("tokenizer: the training texts hold no characters to learn from")
    # The library numbers c and ##c in the order of a randomly seeded hash map and breaks ties
    # between merges by these numbers. Special tokens are numbered first and as given.
    start = [*SPECIAL_TOKENS, *pieces]
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=start,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        continuing_subword_prefix="##",
        show_progress=False,
    )
    draft.train_from_iterator(chunks(texts), trainer, length=len(texts))
    learned = draft.get_vocab(with_added_tokens=True)
    ordered = sorted(learned, key=learned.__getitem__)
    return _assembled({token: i for i, token in enumerate(ordered)}, config.lowercase, strip)


def _strips(texts: Sequence[str], config: TokenizerConfig) -> bool | None:
    """What BERT's normalizer is told of accents; None: to strip them where it lower-cases."""
    if config.strip_accents != "auto":
        return config.strip_accents == "true"
    if not config.lowercase:
        return None
    lost = stripping(texts)
    if not lost.harms:
        return None
    say(
        f"accents and vowel signs are kept (without them {lost.lost:.1%} of the words would be "
        f"other words, and {lost.signs:.1%} of the letters lose a sign); "
        "tokenizer.strip_accents=true strips them"
    )
    return False


def _alphabet(
    tokenizer: "Tokenizer", texts: Sequence[str], budget: int, min_frequency: int
) -> tuple[list[str], list[str]]:
    """The most frequent characters, and the forms (c, ##c) in which they enter a vocabulary.

    The first 1,000, and of the others those that occur `min_frequency` times, in at most `budget`
    forms; equal counts go by code point.
    """
    counts: Counter[str] = Counter()
    for chunk in chunks(texts):
        counts.update(tokenizer.normalizer.normalize_str("\n".join(chunk)))
    cjk = {c for c in counts if tokenizer.normalizer.normalize_str(c) == f" {c} "}
    if sum(counts[c] for c in cjk) < _FEW_CJK * counts.total():
        cjk.clear()
    characters: list[str] = []
    first: list[str] = []
    inner: list[str] = []
    for character in sorted(counts, key=lambda c: (-counts[c], c)):
        # Punctuation and CJK characters are words of their own and never continue one.
        words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(f"a{character}a")]
        if character not in "".join(words):
            continue
        joined = len(words) == 1 and character not in cjk
        rare = counts[character] < min_frequency and len(characters) >= _COMMON_CHARACTERS
        if rare or len(first) + len(inner) + 1 + joined > budget:
            break
        characters.append(character)
        first.append(character)
        if joined:
            inner.append(f"##{character}")
    return sorted(characters), sorted(first) + sorted(inner)


def load_tokenizer(path: str | Path, lowercase: bool, strip_accents: str = "auto") -> "Tokenizer":
    """Reads a `tokenizer.json`, BERT's `vocab.txt`, RoBERTa's `vocab.json`, or a folder with one.

    Args:
        path: of the file or folder; a vocab.json with merges.txt beside it is read too.
        lowercase: for a vocab.txt, which does not say it; a tokenizer.json does.
        strip_accents: for a vocab.txt too, as `tokenizer.strip_accents`; auto: as it lower-cases.

    Raises:
        InputError: there is no such file, it cannot be read, or a special token is missing.
    """
    file = Path(path)
    if file.is_dir():
        known = ("tokenizer.json", "vocab.txt", VOCAB)
        names = [name for name in known if (file / name).is_file()]
        if not names:
            raise InputError(f"tokenizer.path: {file} holds neither tokenizer.json nor vocab.txt")
        file = file / names[0]
    try:
        text = read_text(file, LARGEST_TABLE)
    except InputError as error:
        raise InputError(f"tokenizer.path: cannot read {error}") from None
    if file.name == VOCAB:
        return tokenizer_from_json(read_byte_level(file).to_str(), str(file))
    if file.suffix == ".json":
        return tokenizer_from_json(text, str(file))
    vocab: dict[str, int] = {}
    for number, token in enumerate(text.removesuffix("\n").split("\n")):
        token = token.removesuffix("\r")
        if token in vocab:
            raise InputError(
                f"tokenizer.path: {file} line {number + 1} repeats the token {token!r} of line "
                f"{vocab[token] + 1}"
            )
        vocab[token] = number
    # Around a vocab.txt goes BERT's pipeline, with its names.
    _require_special({token: vocab[token] for token in SPECIAL_TOKENS if token in vocab}, str(file))
    strip = None if strip_accents == "auto" else strip_accents == "true"
    return _assembled(vocab, lowercase, strip)


def tokenizer_from_json(text: str, origin: str = "tokenizer.json") -> "Tokenizer":
    """The tokenizer of a tokenizer.json's text; InputError names `origin` if it is none."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"tokenizer: {origin} is no tokenizer.json: {error}") from None
    # Bytes leave nothing unknown.
    needless = ("[UNK]",) if isinstance(tokenizer.model, BPE) else ()
    _require_special(tokenizer.get_vocab(with_added_tokens=True), origin, needless)
    return _prepared(tokenizer)


def _require_special(vocab: dict[str, int], origin: str, needless: Collection[str] = ()) -> None:
    names = zip(SPECIAL_TOKENS, special_names(vocab), strict=True)
    missing = [token for token, name in names if not name and token not in needless]
    if missing:
        raise InputError(
            f"tokenizer: {origin} lacks {', '.join(missing)}; needed: "
            f"{', '.join(SPECIAL_TOKENS)}, or as RoBERTa calls them {', '.join(OTHER_NAMES)}"
        )


def save_tokenizer(tokenizer: "Tokenizer", path: str | Path) -> None:
    """Writes tokenizer.json whole or not at all."""
    write_text(Path(path), tokenizer.to_str())
