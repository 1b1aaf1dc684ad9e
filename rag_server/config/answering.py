"""Settings of retrieval and generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, JsonValue, SecretStr, Tag, field_validator, model_validator

from rag_server.config.engine import VllmProviderSettings
from rag_server.config.group import Group

EXTRACTIVE = "extractive"
"""The model that every server has."""

RULES = "rules"
"""In place of a model's name: follow-up questions are rewritten without one."""

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
Price = Annotated[float, Field(ge=0, le=1_000_000)]


class EmbeddingSettings(Group):
    """The embedding model."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Name or folder of a sentence-transformers model (Transformer + mean or CLS pooling)."""
    cache_dir: Path | None = None
    """Folder of exported models; unset: `rag-server/models` under XDG_CACHE_HOME or `~/.cache`."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of one model run; 0: as many as there are cores."""
    queue_calls: Annotated[int, Field(ge=1)] = 256
    """Calls that may wait for the model; more are refused with RESOURCE_EXHAUSTED."""


class RetrievalSettings(Group):
    """Retrieval."""

    overfetch: Annotated[float, Field(ge=1, le=100)] = 1.5
    """Candidates asked from the store per candidate wanted, since some may belong to replaced documents."""
    resident_memory_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Memory for collections that are searched in memory; a larger collection is searched in the store."""
    resident_ttl_s: Annotated[float, Field(gt=0)] = 21_600.0
    """How long a collection stays in memory that nobody asks, in seconds."""
    preload_collections: Annotated[int, Field(ge=0, le=1000)] = 16
    """Collections, of those that were asked last, that are brought into memory at start."""
    snapshots: bool = True
    """Whether collections in memory are also written below `storage.data_dir`, for a quick start."""
    search_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that search collections in memory."""
    filter_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for what filters let pass."""
    result_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for answers to retrieval requests that may come again; 0: none are kept."""
    embedding_cache_bytes: Annotated[int, Field(ge=0)] = 16 * 1024**2
    """Memory for the vectors of queries that may come again; 0: none are kept."""
    cross_encoder: str = ""
    """Model that reranks on request, as for `embedding.model`; empty: none, late interaction only."""


class GenerationSettings(Group):
    """Answers of the extractive generator, and how answers are judged."""

    max_quotes: Annotated[int, Field(ge=1, le=20)] = 3
    """Sentences that an extractive answer quotes at most."""
    sentence_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for the vectors of sentences that answers were made of or judged by; 0: none are kept."""
    entailment_model: str = ""
    """Model of natural language inference that judges grounding, a sentence-transformers CrossEncoder by
    name or folder; empty: none, embeddings and words judge."""


class ProviderSettings(Group):
    """One provider of models."""

    kind: Literal["openai"] = "openai"
    """Its interface: `openai` is that of chat completions, which vLLM, Ollama, Gemini and others have."""
    base_url: str
    """Address up to and with the version, such as `http://127.0.0.1:8000/v1`."""
    api_key: SecretStr = SecretStr("")
    """Sent as a bearer token; empty: none. Never logged."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=300)] = 5.0
    """Longest wait for a connection, in seconds."""
    read_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest silence before the first word of an answer, and between two, in seconds."""
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Connections at once, for all of its models."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Attempts, before the first word, where trying again is safe: no connection, HTTP 429 and 5xx."""
    retry_wait_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Wait before the second attempt, in seconds; doubled each time, with jitter."""
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failures in a row after which it is not asked for a while."""
    breaker_open_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long that is, in seconds; then one request tries whether it works again."""

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or "@" in url.split("/", 3)[2]:
            raise ValueError("has to be http:// or https://, without a user and a password")
        if not url.isprintable() or " " in url or "?" in url or "#" in url or not _names_host(url):
            raise ValueError("has to be an address with a host, without spaces, `?` and `#`")
        return url

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, key: SecretStr) -> SecretStr:
        bare = key.get_secret_value().strip()  # of the line end of the file that it came from
        if not bare.isascii() or not bare.isprintable() or " " in bare:
            raise ValueError("has characters that cannot be sent in a header")
        return SecretStr(bare)


def _names_host(url: str) -> bool:
    """Whether an address has a host, and a port that there can be if it has one."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _kind_of(provider: Any) -> str:
    """Return the kind of a provider's settings, which `openai` need not name."""
    if isinstance(provider, dict):
        return str(provider.get("kind", "openai"))
    return str(getattr(provider, "kind", "openai"))


AnyProviderSettings = Annotated[
    Annotated[ProviderSettings, Tag("openai")] | Annotated[VllmProviderSettings, Tag("vllm")],
    Discriminator(
        _kind_of,
        custom_error_type="provider_kind",
        custom_error_message="`kind` has to be `openai` or `vllm`",
    ),
]


class ModelSettings(Group):
    """One model of a provider."""

    provider: str
    """Which of the providers runs it."""
    id: Annotated[str, Field(min_length=1, max_length=256)]
    """The provider's name for it; with `vllm` its folder, or its name on the Hugging Face hub."""
    window_tokens: Annotated[int, Field(ge=512, le=10_000_000)]
    """Tokens that it takes, prompt and answer together."""
    prompt_price: Price | None = None
    """Price of a million tokens of the prompt, in any unit; unset: none."""
    answer_price: Price | None = None
    """Price of a million tokens of the answer, in the same unit."""
    tokenizer_file: Path | None = None
    """Its `tokenizer.json`, by which prompts are counted; unset: they are estimated, on the safe side. A
    model of `vllm` has its own, which is used."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Used where a request has none; unset: the provider's."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Likewise."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the provider calls the limit of the answer."""
    structured_output: Literal["json_schema", "vllm", "none"] = "json_schema"
    """How the provider is told of the form of an answer: JSON schemas as `response_format`; `vllm`: regular
    expressions and choices too, as vLLM servers take them; `none`: by the prompt alone. All are checked."""
    extra: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it
    """Further members of each request to the provider; with `vllm` further arguments of its
    `SamplingParams`, and `chat_template_kwargs`."""
    permits: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Answers at once."""
    queue: Annotated[int, Field(ge=0, le=100_000)] = 64
    """Requests that may wait for a permit; more are refused with RESOURCE_EXHAUSTED."""


class ModelsSettings(Group):
    """Models that write answers, and who runs them. `extractive` is always there."""

    providers: dict[ModelName, AnyProviderSettings] = {}  # noqa: RUF012 - pydantic copies it
    """Providers by name, as JSON: `{"local": {"base_url": "http://127.0.0.1:8000/v1"}}`; see
    docs/models.md."""
    models: dict[ModelName, ModelSettings] = {}  # noqa: RUF012
    """Models by name, as JSON: `{"qwen": {"provider": "local", "id": "Qwen/Qwen3-8B", "window_tokens":
    32768}}`."""
    aliases: dict[ModelName, dict[str, Annotated[float, Field(gt=0, le=1_000_000)]]] = {}  # noqa: RUF012
    """Other names for models, with weights: `{"default": {"qwen": 9, "qwen-next": 1}}`. Without `default`
    that is `extractive`."""
    fallbacks: tuple[str, ...] = ()
    """Models to ask in turn when the chosen one cannot answer, as JSON: `["extractive"]`."""
    max_cost: Annotated[float, Field(ge=0)] | None = None
    """What one answer may cost, in the unit of the prices; unset: no limit."""
    task_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest wait for a model that rewrites or expands a question, or names or summarises a conversation, in
    seconds; at most half of the caller's time."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = {EXTRACTIVE, *self.models}
        if EXTRACTIVE in self.models or names & self.aliases.keys():
            raise ValueError("a model or an alias has the name of another one, or of `extractive`")
        for name, model in self.models.items():
            if model.provider not in self.providers:
                raise ValueError(f"the model {name!r} names a provider that is not among `providers`")
            if (model.prompt_price is None) != (model.answer_price is None):
                raise ValueError(f"the model {name!r} has one price: it needs both or none")
        for alias, shares in self.aliases.items():
            if not shares or shares.keys() - names:
                raise ValueError(f"the alias {alias!r} names no model, or one that is not among `models`")
        if set(self.fallbacks) - names or len(set(self.fallbacks)) < len(self.fallbacks):
            raise ValueError("`fallbacks` names a model that is not among `models`, or one twice")
        return self


class ConversationSettings(Group):
    """Conversations."""

    max_conversations: Annotated[int, Field(ge=1)] = 10_000
    """Conversations that a tenant may have; CreateConversation refuses more."""
    max_messages: Annotated[int, Field(ge=2)] = 1000
    """Messages that a conversation may have, questions and answers."""
    history_messages: Annotated[int, Field(ge=0, le=1000)] = 50
    """Earlier messages that a generator is told of at most."""
    history_tokens: Annotated[int, Field(ge=0)] = 2048
    """Tokens that they have in all at most; older ones are summarised or left out, and the answer says how
    many."""
    lease_s: Annotated[float, Field(gt=0)] = 30.0
    """After which a conversation goes on whose server was killed while it answered, in seconds."""
    rewrite_model: str | None = None
    """Model or alias that rewrites follow-up questions; `rules`: none, words are taken over; unset: the one
    that answers, if it writes."""
    title_model: str = ""
    """Model or alias that names conversations after their first answer; empty: none, the question's words
    do."""
    summary_model: str = ""
    """Model or alias that summarises, after an answer, the messages that are told no more; empty: none, they
    are left out."""
