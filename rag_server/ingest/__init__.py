"""The accepting side of ingest: submit, watch, sweep. What happens to a job is in `ingest_worker`."""
