INSERT INTO collections VALUES ('acme', 'papers', 'u1', 'Papers', 'd', 'en', 'm', 4,
    '{"kind": "tokens", "max_tokens": 200, "overlap_ratio": 0.2}', '{"a": "1"}',
    2, 1, 3, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '{"k1": 0.9, "b": 0.4}');
INSERT INTO metadata_fields VALUES ('acme', 'u1', 'year', 'integer');
INSERT INTO document_revisions VALUES ('acme', 'u1', 'doc', 3);
INSERT INTO documents VALUES ('acme', 'u1', 'doc', 'papers', 2, 'Título', 'file:x', 'text/plain', 'aa', 9, 'en',
    '{"year": {"type": "integer", "value": 2020}}', 3, 30, NULL,
    '2026-01-01 00:00:00', '2026-01-01 00:00:01');
INSERT INTO collection_changes VALUES ('acme', 'u1', 1, 'doc', 1, 2, '2026-01-01 00:00:00');
INSERT INTO collection_changes VALUES ('acme', 'u1', 2, 'doc', 2, 3, '2026-01-01 00:00:01');
INSERT INTO jobs VALUES ('acme', 'done', 'u1', 'papers', 'doc',
    '{"title": "", "source_uri": "file:x", "file_name": "", "media_type": "", "metadata": {}}',
    '{"kind": "tokens", "max_tokens": 200, "overlap_ratio": 0.2}', 'aa', '', 2, 'succeeded',
    '{"size_bytes": 9, "page_count": null, "chunk_count": 3, "token_count": 30,
      "embedded_chunk_count": 3, "indexed_chunk_count": 3}', NULL, 1, FALSE, 1, 'r',
    '2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-01-01 00:00:01', '2026-01-01 00:00:01');
INSERT INTO jobs VALUES ('acme', 'open', 'u1', 'papers', 'doc',
    '{"title": "", "source_uri": "file:x", "file_name": "", "media_type": "",
      "metadata": {"year": {"type": "integer", "value": 2021}}}',
    '{"kind": "tokens", "max_tokens": 200, "overlap_ratio": 0.2}', 'bb', '', 3, 'embedding',
    '{"size_bytes": 9, "page_count": null, "chunk_count": 4, "token_count": 30,
      "embedded_chunk_count": 1, "indexed_chunk_count": 0}', NULL, 1, FALSE, 1, '',
    '2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-01-01 00:00:01', NULL);
INSERT INTO jobs VALUES ('acme', 'failed', 'u1', 'papers', 'bad',
    '{"title": "", "source_uri": "", "file_name": "", "media_type": "", "metadata": {}}',
    '{"kind": "characters", "max_characters": 900, "overlap_characters": 90}', '', 'https://h/x', 1, 'failed',
    '{"size_bytes": null, "page_count": null, "chunk_count": null, "token_count": null,
      "embedded_chunk_count": 0, "indexed_chunk_count": 0}',
    '{"reason": "DOCUMENT_EMPTY", "message": "the document has no bytes", "metadata": {"a": "b"}}',
    2, TRUE, 1, '', '2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-01-01 00:00:01', '2026-01-01 00:00:01');
INSERT INTO job_events VALUES ('acme', 'open', 1,
    '{"content_sha256": "bb", "state": "embedding", "progress": {"size_bytes": 9, "page_count": null,
      "chunk_count": 4, "token_count": 30, "embedded_chunk_count": 1, "indexed_chunk_count": 0}, "error": null,
      "attempt_count": 1, "cancel_requested": false, "start_time": "2026-01-01T00:00:00+00:00", "end_time": null}',
    '2026-01-01 00:00:01');
INSERT INTO sweeps VALUES ('acme', 's1', 'document_revisions', 'u1', 'doc', NULL, 2, '', '2026-01-01 00:00:00');
INSERT INTO blobs VALUES ('acme', 'aa', 9, '2026-01-01 00:00:00');
