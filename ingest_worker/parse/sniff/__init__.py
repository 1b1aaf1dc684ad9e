"""What the content of a document says of its format. One kind of evidence per file."""
