"""From scores to the tokens that stay."""

from array_api_compat import array_namespace

from simcore.policies.pruning.arrays import Array


def keep_highest(scores: Array, count: int) -> Array:
    """[kv_heads, count] int64: the places of the `count` highest of the scores [kv_heads, tokens], rising in each head.

    Among equals the earlier stay. A score of inf stays in any case, as long as no more than `count` of a head are.
    """
    xp = array_namespace(scores)
    order = xp.argsort(scores, axis=-1, descending=True, stable=True)
    return xp.sort(order[:, :count], axis=-1)
