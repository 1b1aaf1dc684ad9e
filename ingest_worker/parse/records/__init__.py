"""Tables taken row by row: `read.read_records` makes a document of a table, one record per row."""
