"""The two ways to ask a language model for the narrative: OpenAI's Responses API, and the older chat completions.

Both carry the same instructions, prompt and JSON schema, and both answers become one :class:`Answer`, so nothing else
knows which was used. Which one is the operator's choice and is never found out by trying (docs/adr/0024). Options in
which servers differ are left out; with the Responses API the length of the answer is bounded and storing declined,
since both belong to that API on every server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.completion_usage import CompletionTokensDetails, CompletionUsage, PromptTokensDetails
from openai.types.responses import (
    Response,
    ResponseFormatTextJSONSchemaConfigParam,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseTextConfig,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails
from openai.types.shared import Reasoning
from openai.types.shared_params import ResponseFormatJSONSchema

from compliance.narrative import Api, NarratorSettings, Sections
from compliance.prompt import INSTRUCTIONS
from compliance.spending import Usage

# Room for four paragraphs and a model's thoughts, within a context of 8,192 tokens with the prompt in it. No round
# number: a bank that declares exactly so many rows would stop every request (compliance/redaction.py).
MOST_OUTPUT_TOKENS = 5987

_NO_TEXT = "the language model's answer has no text"
_DECLINED = "the language model declined to answer"
_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        name: {"type": "string", "description": field.description} for name, field in Sections.model_fields.items()
    },
    "required": list(Sections.model_fields),
    "additionalProperties": False,
}
_TEXT_FORMAT: ResponseFormatTextJSONSchemaConfigParam = {
    "type": "json_schema",
    "name": "narrative",
    "strict": True,
    "schema": _SCHEMA,
}
_RESPONSE_FORMAT: ResponseFormatJSONSchema = {
    "type": "json_schema",
    "json_schema": {"name": "narrative", "strict": True, "schema": _SCHEMA},
}
# What the SDK puts around the texts; without these, a user called "user" would block every request.
_SKELETONS = (
    '{"model":"',
    '","input":"',
    '","instructions":"',
    f'","max_output_tokens":{MOST_OUTPUT_TOKENS},"store":false,"text":{{"format":',
    "/v1/responses",
    "/responses",
    '","messages":[{"role":"system","content":"',
    '"},{"role":"user","content":"',
    '"}],"response_format":',
    ',"store":false}',
    "/v1/chat/completions",
    "/chat/completions",
)
# Words of every answer's envelope, so that a bank called "Index" can get an answer at all: names of fields as the SDK
# knows them, and values that stand in an ordinary answer.
_ENVELOPE = tuple(
    f'"{name}":'
    for model in (
        *(Response, ResponseUsage, InputTokensDetails, OutputTokensDetails, ResponseOutputMessage, ResponseOutputText),
        *(ResponseReasoningItem, Reasoning, ResponseTextConfig),
        *(ChatCompletion, Choice, ChatCompletionMessage, CompletionUsage, PromptTokensDetails, CompletionTokensDetails),
    )
    for name in model.model_fields
)
_ORDINARY = (
    '"id":"resp_', '"id":"msg_', '"id":"rs_', '"id":"chatcmpl-', '"object":"response"', '"object":"chat.completion"',
    '"status":"completed"', '"type":"message"', '"type":"output_text"', '"type":"reasoning"', '"role":"assistant"',
    '"billing":{"payer":"developer"}', '"tool_choice":"auto"', '"truncation":"disabled"', '"service_tier":"default"',
    '"effort":"medium"', '"verbosity":"medium"', '"finish_reason":"stop"', '"context":"current_turn"',
    '"prompt_cache_retention":"in_memory"', '"frequency_penalty":', '"presence_penalty":', '"description":null',
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server's answer comes down to.

    Attributes:
        text: of the model, unchecked; None where there is none to use.
        problem: why not, in words that name no address and nothing that the server wrote.
        usage: tokens by the server's count, also of an answer that cannot be used; None where it gave no usable count.
    """

    text: str | None
    problem: str | None = None
    usage: Usage | None = None


def fixed_parts() -> tuple[str, ...]:
    """What is the same in every request and answer, as it stands there; the texts of :mod:`compliance.prompt` apart."""
    formats = (json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in (_TEXT_FORMAT, _RESPONSE_FORMAT))
    return (*_SKELETONS, *formats, *_ENVELOPE, *_ORDINARY)


def ask(client: openai.OpenAI, settings: NarratorSettings, prompt: str) -> Answer:
    """One question, asked the way that ``settings`` says, with the SDK's retries.

    Raises:
        openai.OpenAIError: no answer came, or one with an error status.
    """
    if settings.api is Api.RESPONSES:
        return _of_response(
            client.responses.create(
                model=settings.model,
                instructions=INSTRUCTIONS,
                input=prompt,
                text={"format": _TEXT_FORMAT},
                max_output_tokens=MOST_OUTPUT_TOKENS,
                store=False,
            )
        )
    return _of_completion(
        client.chat.completions.create(
            model=settings.model,
            messages=[{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": prompt}],
            response_format=_RESPONSE_FORMAT,
            # OpenAI may keep completions unless told not to; some compatible servers refuse an option they don't know
            store=False if settings.base_url is None else openai.omit,
        )
    )


# A server may have answered with anything, and the SDK checks no types: so nothing below is taken for granted.


def _of_response(response: object) -> Answer:
    usage = getattr(response, "usage", None)
    counted = Usage.read(*(getattr(usage, name, None) for name in ("input_tokens", "output_tokens", "total_tokens")))
    parts = [
        part
        for item in _listed(response, "output")
        if getattr(item, "type", None) == "message"
        for part in _listed(item, "content")
    ]
    if any(getattr(part, "type", None) == "refusal" for part in parts):
        return Answer(text=None, problem=_DECLINED, usage=counted)
    problem = _unfinished(response)
    if problem is not None:
        return Answer(text=None, problem=problem, usage=counted)
    texts = [getattr(part, "text", None) for part in parts if getattr(part, "type", None) == "output_text"]
    if not texts or not all(isinstance(text, str) for text in texts):
        return Answer(text=None, problem=_NO_TEXT, usage=counted)
    return Answer(text="".join(map(str, texts)), usage=counted)


def _unfinished(response: object) -> str | None:
    """Why the answer is not whole. A server that states no status is believed: its text must fit the schema anyway."""
    match getattr(response, "status", None), getattr(getattr(response, "incomplete_details", None), "reason", None):
        case "completed" | None, _:
            return None
        case "failed", _:
            return "the language model's service says that it failed"
        case "incomplete", "max_output_tokens":
            return "the language model's answer was cut off at its greatest length"
        case "incomplete", "content_filter":
            return "the language model's answer was cut off by the service's content filter"
        case "incomplete", _:
            return "the language model's answer was cut off"
    return "the language model's service did not finish its answer"


def _of_completion(completion: object) -> Answer:
    usage = getattr(completion, "usage", None)
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    counted = Usage.read(*(getattr(usage, name, None) for name in names))
    choice = next(iter(_listed(completion, "choices")), None)
    message = getattr(choice, "message", None)
    text = getattr(message, "content", None)
    problem = None
    match getattr(choice, "finish_reason", None):
        case "length":
            problem = "the language model's answer was cut off at its greatest length"
        case "content_filter":
            problem = "the language model's answer was cut off by the service's content filter"
        case _ if not isinstance(text, str):
            problem = _NO_TEXT
    if getattr(message, "refusal", None):
        problem = _DECLINED
    return Answer(text=text if problem is None else None, problem=problem, usage=counted)


def _listed(holder: object, name: str) -> list[object]:
    value = getattr(holder, name, None)
    return value if isinstance(value, list) else []
