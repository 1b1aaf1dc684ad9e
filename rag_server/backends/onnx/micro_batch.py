"""Which waiting windows the next run of the model takes.

A run is padded to its longest window and costs about `RUN_OVERHEAD_TOKENS` besides its tokens, padding
included. So a run is worth the more, the larger the share of its cost that is tokens of texts: too few
windows waste the overhead, windows of too different lengths waste padding.
"""

from __future__ import annotations

from collections.abc import Sequence

RUN_OVERHEAD_TOKENS = 8
"""What starting a run costs, in tokens: a query of 14 takes 3.1 ms with all-MiniLM-L6-v2 on 2 cores, of which
2.3 ms go by the token. With 4, 8, 16, 32 and 64, 32 callers at once get 147, 150, 144, 139 and 130 queries
of 9 to 27 tokens per second of CPU time."""
_STARTS = 32
"""Longer windows that are considered as the first of the run."""


def choose_run(lengths: Sequence[int], anchor: int, *, batch_tokens: int) -> slice:
    """Return the neighbours of `lengths` that make the run with the least waste, `anchor` among them.

    Args:
        lengths: Tokens of each waiting window, descending.
        anchor: Index of the window that must not wait any longer.
        batch_tokens: Most tokens of the run, padding included; a single longer window is run alone.
    """
    best, best_worth = slice(anchor, anchor + 1), 0.0
    tokens = 0
    for start in range(anchor, max(anchor - _STARTS, -1), -1):
        longest = lengths[start]
        tokens += longest
        count = anchor - start + 1
        if count > 1 and count * longest > batch_tokens:
            break
        end, taken = _extend(lengths, anchor + 1, longest, count, tokens, batch_tokens)
        worth = taken / (RUN_OVERHEAD_TOKENS + (end - start) * longest)
        if worth > best_worth:
            best, best_worth = slice(start, end), worth
    return best


def _extend(
    lengths: Sequence[int], end: int, longest: int, count: int, tokens: int, batch_tokens: int
) -> tuple[int, int]:
    """Take shorter windows from `end` on while they pay; return the end of the run and its tokens.

    A window pays while its share of tokens, of the `longest` that it is padded to, is at least that of the
    run without it. Lengths descend: once one does not pay, none after it does.
    """
    while end < len(lengths) and (count + 1) * longest <= batch_tokens:
        if lengths[end] * (RUN_OVERHEAD_TOKENS + count * longest) < tokens * longest:
            break
        tokens += lengths[end]
        count += 1
        end += 1
    return end, tokens
