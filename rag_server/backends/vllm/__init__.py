"""Models that vLLM runs in this process's care. Nothing here is imported unless one is configured."""
