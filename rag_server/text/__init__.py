"""What the service knows of language: words, stop words, stems, sentences. Pure CPU, no I/O."""
