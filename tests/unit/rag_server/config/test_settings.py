from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from rag_server.config import (
    DatabaseSettings,
    Group,
    ParserSettings,
    Settings,
    describe_invalid,
    settings_table,
)
from rag_server.config.answering import ProviderSettings
from rag_server.config.engine import VllmProviderSettings
from rag_server.errors import FailedPrecondition

GROUPS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Group)
}
FIELDS = [(group, name) for group, settings in GROUPS.items() for name in settings.model_fields]


def test_settings_without_environment_are_the_defaults() -> None:
    assert Settings().server.port == 50051
    assert Settings().storage.data_dir == Path("data")


def test_settings_from_environment_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SERVER__PORT", "50052")
    monkeypatch.setenv("RAG_FETCH__ALLOW_PRIVATE_ADDRESSES", "true")
    monkeypatch.setenv("RAG_STORAGE__DATA_DIR", "/srv/rag")
    settings = Settings()
    assert settings.server.port == 50052
    assert settings.fetch.allow_private_addresses is True
    assert settings.storage.data_dir == Path("/srv/rag")


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "rag.toml"
    monkeypatch.setenv("RAG_CONFIG_FILE", str(path))
    return path


def test_settings_from_file_lose_against_environment_and_arguments(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text(
        "[server]\nport = 1\nhost = '0.0.0.0'\n[ingest]\nconcurrency = 3\n[log]\nlevel = 'ERROR'\n"
    )
    monkeypatch.setenv("RAG_SERVER__PORT", "2")
    settings = Settings(log={"level": "DEBUG"})  # type: ignore[arg-type]  # pydantic makes a group of it
    assert (settings.server.port, settings.server.host) == (2, "0.0.0.0")  # noqa: S104 - only parsed
    assert settings.ingest.concurrency == 3
    assert settings.log.level == "DEBUG"


def test_settings_unknown_name_in_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SERVER__PROT", "50052")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "RAG_SERVER__PROT" in describe_invalid(caught.value)


@pytest.mark.parametrize("text", ["[server]\nprot = 1\n", "[servre]\nport = 1\n", "port = 1\n"])
def test_settings_unknown_name_in_file_is_refused(config_file: Path, text: str) -> None:
    config_file.write_text(text)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_file_that_is_missing_is_refused(config_file: Path) -> None:
    with pytest.raises(FailedPrecondition, match="RAG_CONFIG_FILE") as caught:
        Settings()
    assert caught.value.reason == "CONFIG_FILE_UNUSABLE"
    assert str(config_file) not in caught.value.message


@pytest.mark.parametrize("content", [b"[server\n", b"\xff\xfe"])
def test_settings_file_that_is_not_toml_is_refused(config_file: Path, content: bytes) -> None:
    config_file.write_bytes(content)
    with pytest.raises(FailedPrecondition) as caught:
        Settings()
    assert caught.value.reason == "CONFIG_FILE_UNUSABLE"


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.server.port = 1
    with pytest.raises(ValidationError):
        settings.server = settings.server


@pytest.mark.parametrize(("group", "name"), FIELDS)
def test_setting_has_a_description_that_is_a_sentence(group: str, name: str) -> None:
    description = GROUPS[group].model_fields[name].description
    assert description is not None
    assert description.endswith(".")


@pytest.mark.parametrize(("group", "name"), FIELDS)
def test_setting_is_in_the_table(group: str, name: str) -> None:
    assert f"| `RAG_{group.upper()}__{name.upper()}` |" in settings_table()


def test_every_group_is_a_group() -> None:
    assert set(GROUPS) == set(Settings.model_fields)
    assert len(FIELDS) > 20


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RAG_SERVER__PORT", "hunter2"),
        ("RAG_SERVER__PORT", "99999"),
        ("RAG_LOG__FORMAT", "hunter2"),
        ("RAG_SERVER__DEFAULT_DEADLINE_S", "-17.25"),
        ("RAG_FETCH__ALLOW_PRIVATE_ADDRESSES", "hunter2"),
    ],
)
def test_describe_invalid_names_variables_and_shows_no_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("RAG_DATABASE__URL", "postgresql://rag:hunter3@db/rag")
    with pytest.raises(ValidationError) as caught:
        Settings()
    text = describe_invalid(caught.value)
    assert variable in text
    assert value not in text
    assert "hunter" not in text


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_DATABASE__URL", "sqlite+aiosqlite:///hunter2")
    monkeypatch.setenv("RAG_MILVUS__TOKEN", "root:hunter2")
    settings = Settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
    assert settings.database.url.get_secret_value().endswith("hunter2")


def test_database_may_be_shared_unless_it_is_in_the_data_folder() -> None:
    assert not DatabaseSettings().is_shared
    assert DatabaseSettings(url=SecretStr("postgresql://rag@db/rag")).is_shared
    assert DatabaseSettings(url=SecretStr("sqlite+aiosqlite:////elsewhere/metadata.db")).is_shared


@pytest.mark.parametrize(
    "url",
    [
        "mysql://rag:hunter2@db/rag",
        "postgresql+psycopg2://rag:hunter2@db/rag",
        "postgresql://rag:hunter2@db",
        "postgresql://rag:hunter2@db:port/rag",
        "postgres rag hunter2",
        "sqlite:///hunter2",
    ],
)
def test_database_of_another_kind_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RAG_DATABASE__URL", url)
    with pytest.raises(ValidationError) as caught:
        Settings()
    described = describe_invalid(caught.value)
    assert "RAG_DATABASE__URL" in described
    assert "hunter2" not in described


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_postgresql_url_is_taken_as_any_client_writes_it(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("RAG_DATABASE__URL", f"{scheme}://rag:hunter%402@db:5433/rag?sslmode=verify-full")
    settings = Settings()
    found = settings.database.url.get_secret_value()
    assert found == "postgresql+asyncpg://rag:hunter%402@db:5433/rag?sslmode=verify-full"
    assert "hunter" not in repr(settings)
    assert "hunter" not in settings.model_dump_json()


@pytest.mark.parametrize(
    "url", ["s3:", "s3://", "s3:///folder", "/srv/blobs", "file:///srv", "https://s3/b", "s3://key:secret@b"]
)
def test_blob_url_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RAG_STORAGE__BLOB_URL", url)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "RAG_STORAGE__BLOB_URL" in describe_invalid(caught.value)


@pytest.mark.parametrize("url", ["", "s3://bucket", "s3://bucket/a/prefix"])
def test_blob_url_of_a_bucket_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RAG_STORAGE__BLOB_URL", url)
    assert Settings().storage.blob_url == url


def test_infinite_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SERVER__DEFAULT_DEADLINE_S", "inf")
    with pytest.raises(ValidationError):
        Settings()


def test_ambient_variables_do_not_reach_tests() -> None:
    assert not [name for name in os.environ if name.startswith("RAG_")]


def test_secrets_of_webhooks_come_as_json_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_WEBHOOKS__SECRETS", '{"billing": "0123456789abcdef"}')
    secrets = Settings().webhooks.secrets
    assert secrets["billing"].get_secret_value() == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(Settings())


@pytest.mark.parametrize("secrets", [{"billing": "too short"}, {"bad name": "0123456789abcdef"}])
def test_secret_of_webhooks_that_is_weak_or_misnamed_is_refused(secrets: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"webhooks": {"secrets": secrets}})
    told = describe_invalid(caught.value)
    assert "RAG_WEBHOOKS__SECRETS" in told
    assert not any(secret in told for secret in secrets.values())


def test_ocr_with_less_memory_than_its_models_need_is_refused() -> None:
    with pytest.raises(ValidationError, match="memory_bytes of 805306368 or more"):
        ParserSettings(ocr=True, memory_bytes=805306367)
    assert ParserSettings(ocr=True, memory_bytes=805306368).ocr
    assert not ParserSettings(memory_bytes=805306367).ocr


PROVIDERS = {"local": {"base_url": "http://127.0.0.1:8000/v1", "api_key": "hunter2"}}
QWEN = {"provider": "local", "id": "Qwen/Qwen3-8B", "window_tokens": 32768}


def test_models_come_as_json_and_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_MODELS__PROVIDERS", json.dumps(PROVIDERS))
    monkeypatch.setenv("RAG_MODELS__MODELS", json.dumps({"qwen": QWEN}))
    monkeypatch.setenv("RAG_MODELS__ALIASES", '{"default": {"qwen": 9, "extractive": 1}}')
    monkeypatch.setenv("RAG_MODELS__FALLBACKS", '["extractive"]')
    settings = Settings()
    local = settings.models.providers["local"]
    assert isinstance(local, ProviderSettings)
    assert local.api_key.get_secret_value() == "hunter2"
    assert settings.models.models["qwen"].window_tokens == 32768
    assert settings.models.aliases["default"] == {"qwen": 9.0, "extractive": 1.0}
    assert settings.models.fallbacks == ("extractive",)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_line_end_after_a_key_is_none_of_it() -> None:
    assert ProviderSettings(base_url="http://h", api_key=SecretStr("hunter2\n")).api_key == SecretStr(
        "hunter2"
    )


@pytest.mark.parametrize(
    "url", ["http://[::1]:8000/v1", "https://host", "http://ollama_1:11434/v1/", "http://bücher.example/v1"]
)
def test_address_of_a_provider_stays_as_it_is(url: str) -> None:
    assert ProviderSettings(base_url=url).base_url == url


def test_provider_of_the_kind_vllm_has_the_arguments_of_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {
        "kind": "vllm",
        "tensor_parallel_size": 2,
        "memory_share": 0.8,
        "engine": {"kv_cache_dtype": "fp8"},
    }
    monkeypatch.setenv("RAG_MODELS__PROVIDERS", json.dumps({"here": here, **PROVIDERS}))
    provider = Settings().models.providers["here"]
    assert isinstance(provider, VllmProviderSettings)
    assert (provider.tensor_parallel_size, provider.memory_share) == (2, 0.8)
    assert provider.prefix_caching
    assert provider.engine == {"kv_cache_dtype": "fp8"}


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"models": {"qwen": QWEN | {"provider": "other"}}}, "not among `providers`"),
        ({"models": {"extractive": QWEN}}, "the name of another"),
        ({"models": {"qwen": QWEN}, "aliases": {"qwen": {"extractive": 1}}}, "the name of another"),
        ({"models": {"qwen": QWEN | {"prompt_price": 1}}}, "both or none"),
        ({"aliases": {"fast": {"qwen": 1}}}, "the alias 'fast'"),
        ({"aliases": {"fast": {}}}, "the alias 'fast'"),
        ({"aliases": {"fast": {"extractive": 0}}}, "greater than 0"),
        ({"fallbacks": ["qwen"]}, "`fallbacks`"),
        ({"fallbacks": ["extractive", "extractive"]}, "`fallbacks`"),
        ({"models": {"a b": QWEN}}, "RAG_MODELS__MODELS"),
        ({"providers": {"x": {"base_url": "ftp://hunter2"}}}, "http://"),
        ({"providers": {"x": {"base_url": "http://user:hunter2@host/v1"}}}, "without a user"),
        *(
            ({"providers": {"x": {"base_url": url}}}, "RAG_MODELS__PROVIDERS__X__BASE_URL: ")
            for url in (
                "http://",
                "http:///v1",
                "http://host:99999/v1",
                "http://host:hunter2/v1",
                "http://[::1/v1",
                "http://a b/v1",
                "http://host/v1\n",
                "http://host/v1?key=hunter2",
                "http://host/v1#hunter2",
            )
        ),
        *(
            ({"providers": {"x": {"base_url": "http://h", "api_key": key}}}, "cannot be sent in a header")
            for key in ("hunter2\r\nX-Other: 1", "hunter2 3", "hunter2\u00e9", "hunter2\0")
        ),
        ({"providers": {"x": {"kind": "other"}}}, "RAG_MODELS__PROVIDERS__X: `kind` has to be"),
        ({"providers": {"x": {}}}, "RAG_MODELS__PROVIDERS__X__BASE_URL: "),
        ({"providers": {"x": {"kind": "vllm", "dtype": "int3"}}}, "RAG_MODELS__PROVIDERS__X__DTYPE: "),
        (
            {"providers": {"x": {"kind": "vllm", "base_url": "http://h"}}},
            "RAG_MODELS__PROVIDERS__X__BASE_URL: ",
        ),
        (
            {"providers": {"x": {"kind": "vllm", "memory_share": 0.5, "kv_cache_bytes": 2**30}}},
            "set one of them",
        ),
    ],
)
def test_models_that_do_not_agree_are_refused_without_showing_a_key(
    models: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"models": {"providers": PROVIDERS, **models}})
    described = describe_invalid(caught.value)
    assert told in described
    assert "RAG_MODELS" in described
    assert "hunter2" not in described


def test_docling_takes_over_the_formats_that_are_named() -> None:
    assert ParserSettings(docling=" html, DOCX,html").docling_media_types == tuple(
        sorted(["application/vnd.openxmlformats-officedocument.wordprocessingml.document", "text/html"])
    )
    assert ParserSettings().docling_media_types == ParserSettings(docling=" , ").docling_media_types == ()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("docx,odf", "'odf' is not one of docx, html, markdown, pptx, xlsx"),
        ("docx,pdf", "docling needs models"),
    ],
)
def test_docling_with_a_format_that_it_does_not_take_over_is_refused(setting: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ParserSettings(docling=setting)


def test_docling_with_less_memory_than_it_takes_is_refused() -> None:
    with pytest.raises(ValidationError, match="memory_bytes of 536870912 or more"):
        ParserSettings(docling="html", memory_bytes=536870911)
    assert ParserSettings(docling="html", memory_bytes=536870912).docling
    assert not ParserSettings(memory_bytes=536870911).docling


@pytest.mark.parametrize(
    ("conversations", "problem"),
    [
        ({"rewrite_model": "qwen"}, "rewrite_model"),
        ({"title_model": "qwen"}, "title_model"),
        ({"title_model": "extractive"}, "title_model"),
        ({"summary_model": "qwen"}, "summary_model"),
        ({"summary_model": "extractive"}, "summary_model"),
    ],
)
def test_model_of_conversations_has_to_be_there(conversations: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate({"conversations": conversations})


@pytest.mark.parametrize("name", ["rules", "extractive", "default", "qwen", "fast", None])
def test_model_that_rewrites_is_one_of_the_models_or_none(name: str | None) -> None:
    models = {"providers": PROVIDERS, "models": {"qwen": QWEN}, "aliases": {"fast": {"qwen": 1}}}
    settings = Settings.model_validate({"conversations": {"rewrite_model": name}, "models": models})
    assert settings.conversations.rewrite_model == name
