"""Bodies of requests: capped while they are read, JSON and nothing else, held against a model without coercion."""

import json
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from orchestrator.api.errors import ApiError, invalid_fields
from orchestrator.model.fields import InvalidField

Model = TypeVar("Model", bound=BaseModel)


async def read_model(request: Request, model: type[Model], *, limit: int) -> Model:
    """The body as a `model`. Raises ApiError: 400, 413 over `limit` bytes, 415 for anything but JSON."""
    check_content_type(request)
    document = parse_json(await read_body(request, limit=limit))
    try:
        return model.model_validate(document)
    except ValidationError as error:
        # Its own text repeats the input, and that may be a credential; so no cause either.
        raise invalid_fields(_invalid_fields(error)) from None


def check_content_type(request: Request) -> None:
    """Raise ApiError 415 unless the body is said to be JSON, not compressed.

    A page of another origin cannot send this type without asking first, and is not allowed to when it asks.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise unsupported_media_type("Content-Type: expected application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise unsupported_media_type("Content-Encoding: expected a body that is not compressed")


async def read_body(request: Request, *, limit: int) -> bytes:
    """The whole body. Raises ApiError 413 as soon as more than `limit` bytes are announced or have come."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > limit:
        raise too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def parse_json(document: bytes) -> Any:
    """The body's value. Raises ApiError 400 that says where it ends to be JSON, or which key it gives twice."""
    if not document:
        raise ApiError(400, "invalid_json", "The body is empty: expected JSON")
    try:
        value = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise ApiError(400, "invalid_json", f"The body is no JSON: {where}: {error.msg}") from None
    _refuse_twice_given_keys(document)
    return value


def _refuse_twice_given_keys(document: bytes) -> None:
    try:
        json.loads(document, object_pairs_hook=_pairs)
    except RecursionError:
        raise ApiError(400, "invalid_json", "The body is nested too deeply") from None


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            shown = key if key.isprintable() and len(key) <= 64 else "a key"
            raise InvalidField(shown, "given twice in one object")
        seen.add(key)


def _invalid_fields(error: ValidationError) -> list[InvalidField]:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [InvalidField(_path(each["loc"]), _problem(each["type"], each["msg"])) for each in details]


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "body"


def _problem(kind: str, message: str) -> str:
    known = {
        "missing": "required",
        "string_type": "expected text",
        "list_type": "expected an array",
        "model_type": "expected an object",
        "model_attributes_type": "expected an object",
    }
    return known.get(kind, message.replace("Input should be", "expected"))


def unsupported_media_type(message: str) -> ApiError:
    """415 for a body that is not plain JSON."""
    return ApiError(415, "unsupported_media_type", message)


def too_large(limit: int) -> ApiError:
    """413 for a body of more than `limit` bytes."""
    return ApiError(413, "body_too_large", f"The body has more than {limit} bytes")
