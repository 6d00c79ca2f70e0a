"""What the layers of a model that attend to equally many tokens keep of a sequence, in blocks.

The rules are those of vLLM 0.33's SlidingWindowSpec and SlidingWindowManager, and of its MambaSpec without prefix
caching (mamba_cache_mode = "none"): one block for as long as a sequence runs, overwritten in place.
"""

from collections.abc import Sequence

from simcore.scenario.model import STATE


class Kind:
    """The block tables whose layers attend to the last `window` tokens, the current one included; 0: to all of them.

    STATE: the layers keep a state, and each of the tables has one entry.
    """

    def __init__(self, window: int, block_size: int, most_tokens: int) -> None:
        """A sequence has at most `most_tokens` that are in its window or still being computed."""
        self.window = window
        self.state = window == STATE
        self.tables: list[int] = []
        """which of a sequence's tables these are"""
        self.tail = -(-(window - 1) // block_size) if window and not self.state else 0
        """blocks of a cached prefix that a window needs: those before the next token that it can see"""
        self.most = 1 if self.state else -(-most_tokens // block_size) + 1
        """blocks of each table that a sequence of any length needs at one time, in a window or for a state"""
        self._block_size = block_size

    def below(self, tokens: int) -> int:
        """Leading blocks that no token to come sees, when there are so many tokens before the next one."""
        return max(0, tokens - self.window + 1) // self._block_size if self.window and not self.state else 0

    def needs(self, blocks: int) -> int:
        """Of so many blocks in a table, those that a sequence needs at one time."""
        return min(blocks, self.most) if self.window else blocks


def kinds_of(windows: Sequence[int], block_size: int, in_flight: int, max_model_len: int) -> list[Kind]:
    """The kinds among the windows of a sequence's tables, full attention first, the others in their order.

    in_flight: the most tokens of a sequence that may be computed at one time.
    """
    kinds: dict[int, Kind] = {}
    for table, window in enumerate(windows):
        if window not in kinds:
            kinds[window] = Kind(window, block_size, min(window - 1 + in_flight, max_model_len))
        kinds[window].tables.append(table)
    return sorted(kinds.values(), key=lambda kind: kind.window != 0)


def longest_held(kinds: Sequence[Kind], blocks: int) -> int | None:
    """Blocks in each table of the longest sequence that so many blocks can hold; None: one of any length."""
    if sum(kind.most * len(kind.tables) for kind in kinds) <= blocks and all(kind.window for kind in kinds):
        return None
    least, most = 0, blocks
    while least < most:
        middle = (least + most + 1) // 2
        if sum(kind.needs(middle) * len(kind.tables) for kind in kinds) <= blocks:
            least = middle
        else:
            most = middle - 1
    return least
