from __future__ import annotations

from rag_server.backends.vllm.encoded_prompts import EncodedPrompts
from rag_server.domain.generation import Message, Role

ONE = (Message(Role.SYSTEM, "Cite."), Message(Role.USER, "When?"))
OTHER = (Message(Role.USER, "When?"),)


THIRD = (Message(Role.USER, "Where?"),)


def test_prompt_is_found_by_the_same_messages_as_often_as_they_come() -> None:
    prompts = EncodedPrompts()
    prompts.keep(ONE, [1, 2])
    assert prompts.find(OTHER) is None
    for _ in range(2):
        assert prompts.find([Message(each.role, each.text) for each in ONE]) == [1, 2]


def test_what_nobody_has_come_for_the_longest_makes_room() -> None:
    prompts = EncodedPrompts(max_tokens=4)
    prompts.keep(ONE, [1, 2])
    prompts.keep(OTHER, [3, 4])
    prompts.find(ONE)
    prompts.keep(THIRD, [5])
    assert [prompts.find(each) for each in (ONE, OTHER, THIRD)] == [[1, 2], None, [5]]


def test_prompt_that_is_larger_than_all_room_is_not_kept_and_leaves_others_alone() -> None:
    prompts = EncodedPrompts(max_tokens=3)
    prompts.keep(OTHER, [3])
    prompts.keep(ONE, [1, 2, 3, 4])
    assert (prompts.find(ONE), prompts.find(OTHER)) == (None, [3])
