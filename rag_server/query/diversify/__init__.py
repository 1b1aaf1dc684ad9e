"""The cut after ranking: threshold, near duplicates, diversity, grouping. One algorithm per file."""
