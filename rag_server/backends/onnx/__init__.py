"""Models on ONNX Runtime, on the CPU, in float32: sentence embeddings and cross-encoders.

    source           which weights a model id means, and their fingerprint
    export_kind      the two kinds of models, and the words for their failures
    graph_export     a torch module -> one fused ONNX graph
    export           a process of its own: sentence-transformers -> graph, verified
    cache            runs the export once per model and machine; survives races and corruption
    artifact         what an export left on disk
    loading          source -> cache -> what runs it; an export that does not load is made again
    tokenizer        text -> tokens, and the windows of a text that is longer than the model reads
    batching         texts -> windows, and their vectors -> one vector per text
    session          one ONNX Runtime session, interruptible
    micro_batch      which windows share a run
    waiting          the windows that wait
    worker           the one thread that runs a model, and the queue before it
    text_length      tokens of a text, guessed
    embedder         `OnnxEmbedder`, which puts these together
    cross_encoder*, pair_tokenizer
                     `OnnxCrossEncoder`, on the same worker, cache and export

Only `graph_export` and the two exports import torch, and only export processes import them.
"""
