"""Jobs of many documents: what an archive or a crawl finds becomes a job of its own, item by item."""
