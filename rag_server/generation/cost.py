"""What one request may cost, checked before a model is asked."""

from __future__ import annotations

from rag_server.backends.protocols import GeneratorModel
from rag_server.domain.generation import GenerationRequest
from rag_server.errors import InvalidArgument


class CostLimit:
    """The server's limit, and the request's own where that is lower."""

    def __init__(self, max_cost: float | None = None) -> None:
        """`max_cost`: what any answer may cost, in the unit of the models' prices; None: no limit."""
        self._max_cost = max_cost

    def check(
        self,
        model: GeneratorModel,
        request: GenerationRequest,
        prompt_tokens: int,
        max_tokens: int,
        *,
        attempts: int = 1,
    ) -> float | None:
        """Return what a prompt and its longest answer cost at most, with what was spent before.

        `attempts`: how often the model may be asked.

        None: the model has no price. Raises `InvalidArgument` (`COST_LIMIT_EXCEEDED`).
        """
        if model.price is None:
            return None
        cost = attempts * model.price.of(prompt_tokens, max_tokens) + request.preparation.cost
        limits = [each for each in (request.max_cost, self._max_cost) if each is not None]
        if limits and cost > min(limits):
            is_callers = request.max_cost is not None and request.max_cost == min(limits)
            error = InvalidArgument.for_field(
                "generation.max_cost" if is_callers else "generation.max_answer_tokens",
                f"the answer may cost {cost:.6g} with the model {model.name!r}, the limit is "
                f"{min(limits):.6g}: ask for a shorter answer or fewer sources, or choose another model",
                reason="COST_LIMIT_EXCEEDED",
            )
            error.metadata |= {
                "model": model.name,
                "max_cost": f"{cost:.6g}",
                "limit": f"{min(limits):.6g}",
            }
            raise error
        return cost
