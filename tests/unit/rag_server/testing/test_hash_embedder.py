from __future__ import annotations

import numpy as np
import pytest

from rag_server.testing.embedder_suite import EmbedderSuite
from rag_server.testing.fakes import HashEmbedder


class TestHashEmbedder(EmbedderSuite):
    @pytest.fixture
    async def embedder(self) -> HashEmbedder:
        return HashEmbedder(window_tokens=34)


async def test_hash_embedder_shared_words_are_nearer_than_other_words() -> None:
    question, near, far = await HashEmbedder().embed(
        ["When does the Lease end?", "the lease end", "winter music on paper"]
    )
    assert question @ near > 0.5 > question @ far


async def test_hash_embedder_two_instances_agree() -> None:
    first, second = await HashEmbedder().embed(["a b"]), await HashEmbedder().embed(["a b"])
    np.testing.assert_array_equal(first, second)
