"""Models behind OpenAI's interface of chat completions: vLLM servers, Ollama, Gemini, OpenAI and others."""
