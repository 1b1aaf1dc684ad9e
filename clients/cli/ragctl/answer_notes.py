"""What is told of an answer beside its text and its sources: before it, after it, and when it is kept."""

from __future__ import annotations

from rag.v1.conversation_pb2 import Turn
from rag.v1.conversation_service_pb2 import MessageAnswer
from rag.v1.generate_service_pb2 import FinishReason, GenerationFinished, GenerationStarted
from rag.v1.policy_pb2 import FilteredPart, PolicyReport
from ragctl.assistants_commands import shown_choice
from ragctl.grounding import show_score
from ragctl.output import Output, one_line
from ragctl.question_options import show_searched
from ragctl.search import degradation_note
from ragctl.session import Session


def show_start(output: Output, started: GenerationStarted) -> None:
    """Tell who answers, what of the conversation is taken into account, and what was searched with."""
    if started.HasField("assistant"):
        output.line(f"assistant {shown_choice(started.assistant)}", style="dim")
    history = _history(started.turn)
    if history:
        output.line(history, style="dim")
    show_searched(output, started.turn.search_question, started.searched)


def show_end(session: Session, finished: GenerationFinished) -> None:
    """Tell what became of an answer that is complete."""
    output = session.output
    note = degradation_note(finished.degradations)
    if note:
        output.line(f"{note}: answered by {one_line(finished.model)}", style="yellow")
    if finished.from_cache:
        output.line("This answer was given before: --no-cache asks a model again.", style="yellow")
    left_out = len(finished.prompt.left_out_sources)
    if left_out:
        output.line(f"{left_out} of the passages did not fit the model's window.", style="yellow")
    unheard = finished.prompt.left_out_message_count
    if unheard:
        output.line(f"{unheard} of the earlier messages did not fit the model's window.", style="yellow")
    _show_policy(output, finished.reason, finished.policy)
    if finished.reason == FinishReason.FINISH_REASON_MAX_TOKENS:
        output.line(
            "The answer was cut at the limit of --max-tokens, or at the end of the model's window.",
            style="yellow",
        )
    if finished.HasField("grounding"):
        show_score(session, finished.grounding)


def show_kept(session: Session, answer: MessageAnswer) -> None:
    """Tell of an answer that a conversation keeps what was told of it when it was written."""
    output = session.output
    if answer.HasField("assistant"):
        output.line(f"assistant {shown_choice(answer.assistant)}", style="dim")
    show_searched(output, answer.search_question, answer.searched)
    note = degradation_note(answer.degradations)
    if note:
        output.line(note, style="yellow")
    _show_policy(output, answer.finish_reason, answer.policy)
    if answer.finish_reason == FinishReason.FINISH_REASON_MAX_TOKENS:
        output.line("The answer was cut at the limit that it was asked with.", style="yellow")
    if answer.HasField("grounding"):
        show_score(session, answer.grounding)


def _history(turn: Turn) -> str:
    """Return what stands for older messages, and how many nothing does; empty while all of them are told."""
    if not (turn.summarised_message_count or turn.history_left_out_count):
        return ""
    parts = [f"history: {turn.history_message_count} messages"]
    if turn.summarised_message_count:
        parts.append(f"a summary of {turn.summarised_message_count} older ones")
    if turn.history_left_out_count:
        parts.append(f"{turn.history_left_out_count} left out")
    return ", ".join(parts)


def _show_policy(output: Output, reason: FinishReason.ValueType, policy: PolicyReport) -> None:
    """Tell who withheld an answer, and what filters replaced in it."""
    if reason == FinishReason.FINISH_REASON_POLICY:
        who = one_line(policy.message) or "the model's provider withheld the answer, or the rest of it"
        output.line(f"{who[:1].upper()}{who[1:]}.", style="yellow")
    if policy.redactions:
        output.line(f"Replaced by filters: {_replaced(policy)}.", style="yellow")


def _replaced(policy: PolicyReport) -> str:
    """Return what filters replaced: how many of each kind, and where."""
    parts = FilteredPart.DESCRIPTOR.values_by_number
    return ", ".join(
        f"{each.count} {one_line(each.kind)} in the "
        f"{parts[each.part].name.removeprefix('FILTERED_PART_').lower() if each.part in parts else 'answer'}"
        for each in policy.redactions
    )
