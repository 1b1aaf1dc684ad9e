"""The worker's side of ingest: fetch, parse, chunk, embed, index. One folder or file per stage."""
