"""The form of an answer, which vLLM's engine keeps to by leaving out the tokens that would break it."""

from __future__ import annotations

from vllm.sampling_params import StructuredOutputsParams

from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput


def structured_outputs(output: OutputFormat | None) -> StructuredOutputsParams | None:
    """Return what the engine is told of `output`; None: it writes as it likes."""
    match output:
        case JsonSchemaOutput(schema):
            return StructuredOutputsParams(json=schema)
        case RegexOutput(pattern):
            return StructuredOutputsParams(regex=pattern)
        case ChoiceOutput(choices):
            return StructuredOutputsParams(choice=list(choices))
        case None:
            return None
