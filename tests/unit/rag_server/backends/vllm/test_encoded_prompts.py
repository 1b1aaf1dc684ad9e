from __future__ import annotations

from rag_server.backends.vllm.encoded_prompts import EncodedPrompts
from rag_server.domain.generation import Message, Role

ONE = (Message(Role.SYSTEM, "Cite."), Message(Role.USER, "When?"))
OTHER = (Message(Role.USER, "When?"),)


def test_prompt_is_given_once_to_who_has_the_same_messages() -> None:
    prompts = EncodedPrompts()
    prompts.keep(ONE, [1, 2])
    assert prompts.take(OTHER) is None
    assert prompts.take([Message(each.role, each.text) for each in ONE]) == [1, 2]
    assert prompts.take(ONE) is None


def test_what_nobody_came_for_makes_room() -> None:
    prompts = EncodedPrompts(max_tokens=3)
    prompts.keep(ONE, [1, 2])
    prompts.keep(OTHER, [3, 4])
    assert (prompts.take(ONE), prompts.take(OTHER)) == (None, [3, 4])


def test_prompt_that_is_larger_than_all_room_is_not_kept_and_leaves_others_alone() -> None:
    prompts = EncodedPrompts(max_tokens=3)
    prompts.keep(OTHER, [3])
    prompts.keep(ONE, [1, 2, 3, 4])
    assert (prompts.take(ONE), prompts.take(OTHER)) == (None, [3])
