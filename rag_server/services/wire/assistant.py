"""Assistants, which one answers, and requests with the settings of one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from google.protobuf.message import Message

from rag.v1 import assistant_pb2 as pb
from rag.v1 import generate_service_pb2, options_pb2
from rag.v1.assistant_service_pb2 import UpdateAssistantRequest
from rag_server.domain.assistant import Assistant, AssistantChoice, AssistantProfile, Selection
from rag_server.domain.generation import AskedAssistant, GenerationRequest
from rag_server.services.wire.metadata import to_timestamp
from rag_server.validation import check

_SELECTIONS = {
    Selection.NAMED: pb.ASSISTANT_SELECTION_NAMED,
    Selection.KEYWORD: pb.ASSISTANT_SELECTION_KEYWORD,
    Selection.EXAMPLE: pb.ASSISTANT_SELECTION_EXAMPLE,
    Selection.DEFAULT: pb.ASSISTANT_SELECTION_DEFAULT,
    Selection.NONE: pb.ASSISTANT_SELECTION_NONE,
}

QuestionMessage = generate_service_pb2.GenerateRequest | generate_service_pb2.StreamGenerateRequest


def to_assistant(assistant: Assistant) -> pb.Assistant:
    """Return an assistant as a message."""
    message = _content(assistant.profile)
    message.id, message.revision, message.is_default = (
        assistant.id,
        assistant.revision,
        assistant.is_default,
    )
    message.create_time.CopyFrom(to_timestamp(assistant.create_time))
    message.update_time.CopyFrom(to_timestamp(assistant.update_time))
    return message


def _content(profile: AssistantProfile) -> pb.Assistant:
    """Return what an assistant is, without what the server sets."""
    message = pb.Assistant(
        display_name=profile.display_name,
        description=profile.description,
        instructions=profile.instructions,
        language=profile.language,
        collection_ids=profile.collection_ids,
        keywords=profile.keywords,
        examples=profile.examples,
    )
    if profile.retrieval:
        message.retrieval.CopyFrom(_retrieval_of(profile))
    if profile.generation:
        message.generation.CopyFrom(_generation_of(profile))
    return message


def from_assistant(message: pb.Assistant) -> AssistantProfile:
    """Return what a validated message says of an assistant; what the server sets is ignored."""
    return AssistantProfile(
        display_name=message.display_name,
        description=message.description,
        instructions=message.instructions,
        language=message.language,
        collection_ids=tuple(message.collection_ids),
        retrieval=_encoded(message.retrieval),
        generation=_encoded(message.generation),
        keywords=tuple(message.keywords),
        examples=tuple(message.examples),
    )


def named_models(options: options_pb2.GenerationOptions) -> Iterator[tuple[str, str]]:
    """Yield the models that options name, each after the path of its field."""
    names = {
        "model": options.model,
        "expansion.model": options.expansion.model,
        "rewriting.model.model": options.rewriting.model.model,
    }
    yield from ((path, name) for path, name in names.items() if name)


def changed(profile: AssistantProfile, request: UpdateAssistantRequest) -> AssistantProfile:
    """Return `profile` with the fields that `update_mask` names as they are in `request.assistant`.

    Raises `InvalidArgument` where what is new does not go together with what stays.
    """
    given, whole = copy.deepcopy(request.assistant), _content(profile)
    groups = {path.partition(".")[0] for path in request.update_mask.paths if "." in path}
    for group in groups:  # else a setting of a group that is not given would stay, rather than go
        getattr(given, group).SetInParent()
    request.update_mask.MergeMessage(given, whole, True, True)  # messages and lists: replaced
    if groups:
        update = UpdateAssistantRequest(assistant_id=request.assistant_id, assistant=whole)
        update.update_mask.CopyFrom(request.update_mask)
        check(update)
    return from_assistant(whole)


def to_choice(choice: AssistantChoice | None) -> pb.AssistantChoice | None:
    """Return which assistant answers as a message; None: none was asked for."""
    if choice is None:
        return None
    return pb.AssistantChoice(
        assistant_id=choice.assistant_id,
        revision=choice.revision,
        selection=_SELECTIONS[choice.selection],
        matched=choice.matched,
        score=choice.score,
    )


def from_asked(
    message: QuestionMessage, read: Callable[[QuestionMessage], GenerationRequest]
) -> AskedAssistant | None:
    """Return the assistant that a question asks for; `read` reads it with that one's settings."""
    if not message.assistant:
        return None
    return AskedAssistant(message.assistant, lambda assistant: read(with_assistant(message, assistant)))


def with_assistant(message: QuestionMessage, assistant: Assistant | None) -> QuestionMessage:
    """Return a question that names no assistant, with the settings of one where it has none of its own.

    Raises `InvalidArgument` where the two do not go together.
    """
    whole = copy.deepcopy(message)
    whole.ClearField("assistant")
    if assistant is not None:
        profile = assistant.profile
        if not whole.collection_ids:
            whole.collection_ids.extend(profile.collection_ids)
        _fill(whole.retrieval, _retrieval_of(profile))
        _fill(whole.generation, _generation_of(profile))
        if profile.language and not whole.generation.language:
            whole.generation.language = profile.language
    check(whole)
    return whole


def _fill(own: Message, defaults: Message) -> None:
    """Set the fields of `own` that are not set to what they are in `defaults`; each as a whole."""
    for field, _ in own.ListFields():
        defaults.ClearField(field.name)
        if field.containing_oneof is not None:  # another member would replace the one that is set
            member = defaults.WhichOneof(field.containing_oneof.name)
            if member is not None:
                defaults.ClearField(member)
    own.MergeFrom(defaults)


def _encoded(message: Message) -> bytes:
    """Return the bytes of a message, the same for equal ones; empty for one without any field."""
    return message.SerializeToString(deterministic=True)


def _retrieval_of(profile: AssistantProfile) -> options_pb2.RetrievalOptions:
    return options_pb2.RetrievalOptions.FromString(profile.retrieval)


def _generation_of(profile: AssistantProfile) -> options_pb2.GenerationOptions:
    return options_pb2.GenerationOptions.FromString(profile.generation)
