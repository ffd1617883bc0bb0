"""What a corpus is like: lengths in tokens, classes, and texts that occur more than once."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxattn.data.corpora.holdout import text_keys
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.tokenise import chunks

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PERCENTILES = (5, 25, 50, 75, 95, 99)


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long texts are.

    Attributes:
        tokens: of each text, [CLS] and [SEP] included, nothing cut; int64 [n].
        unknown_share: share of [UNK] among the tokens of text.
    """

    tokens: np.ndarray
    unknown_share: float

    def summary(self, max_length: int) -> dict[str, Any]:
        """Figures for a report; what `max_length` tokens an example leave out among them."""
        tokens = self.tokens
        quantiles = np.percentile(tokens, PERCENTILES, method="inverted_cdf")
        return {
            "texts": len(tokens),
            "tokens": int(tokens.sum()),
            "mean": float(tokens.mean()),
            "percentiles": dict(zip(map(str, PERCENTILES), map(int, quantiles), strict=True)),
            "longest": int(tokens.max()),
            "truncated_share": float((tokens > max_length).mean()),
            "lost_token_share": float(np.maximum(tokens - max_length, 0).sum() / tokens.sum()),
            "unknown_share": self.unknown_share,
        }


def measure_lengths(tokenizer: "Tokenizer", texts: Sequence[str]) -> Lengths:
    """Tokenises `texts` (at least one) and keeps only their lengths."""
    unk = special_ids(tokenizer).unk
    lengths: list[int] = []
    unknown = 0
    for chunk in chunks(texts):
        for encoding in tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
            ids = encoding.ids
            lengths.append(len(ids) + 2)
            unknown += ids.count(unk)
    tokens = np.asarray(lengths, np.int64)
    return Lengths(tokens, unknown / max(int(tokens.sum()) - 2 * len(tokens), 1))


def normalised(text: str) -> str:
    """`text` in lower case with single blanks: copies that differ in nothing else are equal."""
    return " ".join(text.lower().split())


def duplicates(splits: dict[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Repeated texts, counted exactly and after `normalised`.

    Args:
        splits: name -> texts; the first one is trained on, the second may be held out of it.

    Returns:
        Rows {"where", "exact", "normalised"}: the texts of the first split that repeat an earlier
        one; the different texts that two splits share; and, of three splits, those that the last
        shares with the first two together (one split, before anything was held out).
    """
    counts: dict[str, dict[str, int]] = {}
    for kind in ("exact", "normalised"):
        keys = [_keys(texts, kind) for texts in splits.values()]
        names = list(splits)
        found = {f"within {names[0]}": len(keys[0]) - len(np.unique(keys[0]))}
        for i, first in enumerate(names):
            for j in range(i + 1, len(names)):
                found[f"{first} / {names[j]}"] = len(np.intersect1d(keys[i], keys[j]))
        if len(names) == 3:
            pooled = np.concatenate(keys[:2])
            where = f"{names[0]} + {names[1]} / {names[2]}"
            found[where] = len(np.intersect1d(pooled, keys[2]))
        for where, count in found.items():
            counts.setdefault(where, {})[kind] = count
    return [{"where": where, **row} for where, row in counts.items()]


def _keys(texts: Sequence[str], kind: str) -> np.ndarray:
    # 64 bits: among a million texts two different ones are taken for equal once in 30 million.
    return text_keys(texts if kind == "exact" else map(normalised, texts), 0, "duplicates")


_MARKUP = re.compile(
    r"<br\s*/?>|</?(?:p|div|span|a|b|i|em|strong|ul|ol|li|table|td|tr|h[1-6])\b[^<>]*>"
    r"|&(?:[a-z]{2,8}|#\d{2,5}|#x[0-9a-f]{2,5});|(?<![\w&])#\d{2,4};",
    re.IGNORECASE,
)
"""Tags and entities of HTML, also those that lost their ampersand as in AG News ("#39;")."""


def markup(texts: Sequence[str]) -> tuple[float, str]:
    """The share of the texts with mark-up in them, and the first that was found; "" if none."""
    found = [match.group() for match in map(_MARKUP.search, texts) if match is not None]
    return len(found) / max(len(texts), 1), found[0][:40] if found else ""


def contradictions(texts: Sequence[str], labels: np.ndarray) -> int:
    """How many different texts occur with more than one label."""
    keys = text_keys(texts, 0, "duplicates")
    pairs = np.unique(np.stack([keys, labels.astype(np.uint64)]), axis=1)
    _, kinds = np.unique(pairs[0], return_counts=True)
    return int((kinds > 1).sum())
