"""One attention of the registry: its function, and the checks that all of them share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxattn.attention.inputs import Cost, Inputs, Visibility, checked
from jaxattn.config import AttentionOptions
from jaxattn.errors import InputError, did_you_mean

Options = TypeVar("Options", bound=AttentionOptions)


@dataclasses.dataclass(frozen=True)
class AttentionOp(Generic[Options]):
    """One attention: the function, its options and what a caller must know of it.

    name: its name in the registry.
    function: (q, k, v, inputs, options) -> [B, N, H, V]; what it gets is checked already. k is
        None only where queries may serve as keys.
    options: its options' dataclass.
    cost: (options, N, K) -> cost of the forward pass, per head and batch row.
    shares_qk: queries may serve as keys: `apply` takes k=None, and the option `shared_qk` says so.
    self_attention: queries and keys are of one sequence.
    needs_key: `apply` needs a typed PRNG key.
    draws: (options, key, K) -> what `apply` takes as `drawn` in place of `key`, for callers that
        use one key several times; None: nothing costly is drawn.
    takes_padding: `apply` takes right_padded=True, the promise that padding stands on the right.
    exact_up_to: options -> the length up to which it computes exact attention; None: at none.
    one_query: options with which a single query of a row gets what it gets among all of them;
        None: what a query gets depends on the others.
    skips_pairs: pairs of query and key are left out; else the weight of each is computed, or
        estimated.
    in_exchange: its options where it takes the place of another in a trained encoder, whose keys
        stay.
    """

    name: str
    function: Callable[[Array, Any, Array, Inputs, Options], Array]
    options: type[Options]
    cost: Callable[[Options, int, int], Cost]
    shares_qk: bool = False
    self_attention: bool = False
    needs_key: bool = False
    draws: Callable[[Options, Array, int], Array] | None = None
    takes_padding: bool = False
    exact_up_to: Callable[[Options], int] | None = None
    one_query: Mapping[str, Any] | None = None
    skips_pairs: bool = False
    in_exchange: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def drops_weights(self) -> bool:
        """Whether `apply` takes dropout_rate and dropout_key."""
        return self.options.drops_weights

    def apply(
        self,
        q: ArrayLike,
        k: ArrayLike | None,
        v: ArrayLike,
        *,
        key_mask: ArrayLike | None = None,
        attn_mask: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        relative_bias: ArrayLike | None = None,
        segment_ids: ArrayLike | None = None,
        key: Array | None = None,
        drawn: Array | None = None,
        dropout_rate: float = 0.0,
        dropout_key: Array | None = None,
        right_padded: bool = False,
        options: Options | None = None,
        **changed: Any,
    ) -> Array:
        """Attention of q [B, N, H, K] over k [B, M, H, K], v [B, M, H, V]; returns [B, N, H, V].

        Args:
            q: queries, any floating type; the result has their type. Scores, softmax and sums are
                float32 (float64 for float64 inputs).
            k: keys; None where queries serve as keys.
            v: values.
            key_mask: bool [B, M], True = real token.
            attn_mask: bool, broadcastable to [B, H, N, M], True = may attend.
            bias: float, added to the logits, broadcastable to [B, H, N, M].
            relative_bias: float [H, 2 D + 1]; (i, j) gets relative_bias[h, clip(j - i, -D, D) + D].
            segment_ids: int [B, N]; attention stays within runs of equal ids (packed documents).
            key: typed PRNG key; of no use where nothing is drawn.
            drawn: what `draw` made before, in place of `key`.
            dropout_rate: share of the attention weights that is set to zero, 0 <= rate < 1.
            dropout_key: typed PRNG key, required when dropout_rate > 0.
            right_padded: promises that q, k and v are of one sequence and that in every row of
                `key_mask` what is True comes first. What padding gets as a query is not defined
                then.
            options: of this attention; None: the defaults.
            changed: single options in place of those.

        Raises:
            InputError: arguments that do not fit together, options out of range, or what this
                attention cannot honour: nothing is ignored.
        """
        if self.shares_qk and options is None and changed.get("shared_qk") is None:
            changed["shared_qk"] = k is None
        chosen = self.with_options(options, **changed)
        if k is None and not self.shares_qk:
            raise InputError(f"{self.name} needs keys of their own, found k = None")
        for name, given, honoured in (
            ("drawn", drawn is not None, self.draws is not None),
            ("dropout_rate", bool(dropout_rate), self.drops_weights),
            ("dropout_key", dropout_key is not None, self.drops_weights),
            ("right_padded", right_padded, self.takes_padding),
        ):
            if given and not honoured:
                raise InputError(f"{self.name} cannot honour {name}: leave it out")
        q, k, v = jnp.asarray(q), _array(k), jnp.asarray(v)
        seen = Visibility(_array(key_mask), _array(attn_mask), _array(segment_ids), dropout_key)
        biases = _array(bias), _array(relative_bias)
        raw = Inputs(seen, *biases, key, drawn, dropout_rate, right_padded)
        inputs = checked(q, k, v, raw)
        shared = getattr(chosen, "shared_qk", None)
        if shared is not None and shared != (k is None):
            raise InputError(
                f"{self.name}: shared_qk is {shared}, but k is {'None' if k is None else 'given'}; "
                "queries serve as keys when k is None"
            )
        if self.self_attention and q.shape[1] != v.shape[1]:
            raise InputError(
                f"{self.name} is self-attention, found {q.shape[1]} queries and {v.shape[1]} keys"
            )
        if self.needs_key and drawn is None:
            self._check_key(key)
        return self.function(q, k, v, inputs, chosen)

    def draw(
        self, key: Array, head_width: int, options: Options | None = None, **changed: Any
    ) -> Array:
        """What `apply` takes as `drawn`, for heads of this width; options as of `apply`.

        Where several calls have one key, drawing once saves the others' factorisations.
        """
        if self.draws is None:
            raise InputError(f"{self.name} draws nothing that can be given to it")
        return self.draws(self.with_options(options, **changed), self._check_key(key), head_width)

    def with_options(self, options: Options | None = None, **changed: Any) -> Options:
        """`options` (None: the defaults) with single ones changed; None stands for a default."""
        # How often a caller draws anew is no matter of one call.
        known = [x.name for x in dataclasses.fields(self.options) if x.name != "redraw_interval"]
        for name in changed:
            if name not in known:
                allowed = f"{', '.join(known)}{did_you_mean(name, known)}"
                raise InputError(f"{self.name}: found option {name!r}, allowed: {allowed}")
        changed = {name: value for name, value in changed.items() if value is not None}
        if options is None:
            return self.options(**changed)
        return dataclasses.replace(options, **changed) if changed else options

    def _check_key(self, key: Array | None) -> Array:
        """`key` if it is one typed PRNG key (`jax.random.key`), InputError otherwise."""
        if key is None:
            raise InputError(f"{self.name} draws random numbers: pass key=jax.random.key(...)")
        typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if not typed or key.shape != ():
            raise InputError(
                f"{self.name}: key is {key!r}, expected one typed key (jax.random.key)"
            )
        return key


def _array(x: ArrayLike | None) -> Array | None:
    return None if x is None else jnp.asarray(x)
