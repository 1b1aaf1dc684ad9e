"""Sentence embeddings on ONNX Runtime, on the CPU, in float32.

    source     which weights a model id means, and their fingerprint
    export     a process of its own: sentence-transformers -> one fused, verified ONNX graph
    cache      runs the export once per model and machine; survives races and corruption
    artifact   what an export left on disk
    tokenizer  text -> tokens, and the windows of a text that is longer than the model reads
    batching   windows -> batches of bounded size -> one vector per text
    session    one ONNX Runtime session, interruptible
    worker     the one thread that runs the session, and the queue before it
    embedder   `OnnxEmbedder`, which puts these together

Only `export` imports torch, and only the export process imports `export`.
"""
