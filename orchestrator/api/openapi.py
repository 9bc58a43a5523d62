"""The API's description, OpenAPI 3.1, made from what its routes are made from: resources, models and refusals.

https://spec.openapis.org/oas/v3.1.1.html
"""

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from orchestrator.api.auth import SAFE_METHODS, cross_site_request
from orchestrator.api.bodies import too_large, unsupported_media_type
from orchestrator.api.errors import (
    ACCOUNT_HEADER,
    CHALLENGE,
    KNOWN_REFUSALS,
    RUN_ID_HEADER,
    UNAUTHORIZED,
    ApiError,
    error_document,
    internal_error,
    invalid_fields,
    path_not_found,
)
from orchestrator.api.json_schemas import Mode, Schemas
from orchestrator.api.query import QueryParameter, unknown_parameter
from orchestrator.api.routing import BASES, Header, OpenOperation, Operation, Resource, Success
from orchestrator.api.schemas import ApiErrorResponse
from orchestrator.catalog.access import AccountForbidden, AccountNotFound, TooManySignIns
from orchestrator.catalog.clusters import ClusterNotFound
from orchestrator.catalog.system import DatabaseUnavailable

_CLUSTER_IN_PATH: Final = "{cluster_name}"
_JSON: Final = "application/json"

_INTRODUCTION: Final = """\
Which container images run where, across Kubernetes clusters, since when, and how fresh is that answer. This is the
API that Anchore Enterprise 3.x published for its inventories, and more.

- Every path answers at both servers below; a slash at its end is tolerated. `HEAD` is answered where `GET` is.
- Query parameters are read strictly: one that an operation does not know is refused with 400.
- Keys that are not known in a body are ignored. Times are UTC.
"""
_TAGS: Final = {
    "inventory": "Which images run where: read it, report to it, and see who reports.",
    "clusters": "The clusters that this service looks at by itself.",
    "system": "Probes and this description, without authentication.",
}
_ACCOUNT_PARAMETER: Final = {
    "name": ACCOUNT_HEADER,
    "in": "header",
    "required": False,
    "description": "The account to act in, by its name; one's own unless given. Another one only for users of the "
    "account `admin`.",
    "schema": {"type": "string"},
}
_REFUSAL_HEADERS: Final = {
    "Retry-After": "After how many seconds to try again",
    RUN_ID_HEADER: "Only of a refused report: the run in the history that keeps it",
}


def describe(resources: Sequence[Resource], *, version: str) -> dict[str, Any]:
    """The description of everything at `resources`. `version` is the API's."""
    return _Describer(Schemas(_shapes(resources))).document(resources, version)


def _shapes(resources: Sequence[Resource]) -> Iterator[tuple[Any, Mode]]:
    yield ApiErrorResponse, "serialization"
    for found in resources:
        for operation in found.operations.values():
            yield from ((each.shape, "serialization") for each in operation.answers if each.shape is not None)
            if isinstance(operation, Operation) and operation.body is not None:
                yield operation.body.shape, "validation"


class _Describer:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def document(self, resources: Sequence[Resource], version: str) -> dict[str, Any]:
        return {
            "openapi": "3.1.1",
            "info": {
                "title": "kai-orchestrator",
                "version": version,
                "description": _INTRODUCTION,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": base} for base in BASES],
            "security": [{"basic": []}],
            "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
            "paths": {found.path: self._path(found) for found in resources},
            "components": {
                "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
                "parameters": {"AsAccountParameter": _ACCOUNT_PARAMETER},
                "schemas": self._schemas.definitions,
            },
        }

    def _path(self, found: Resource) -> dict[str, Any]:
        item: dict[str, Any] = {}
        if found.bases != BASES:
            item["servers"] = [{"url": base or "/"} for base in found.bases]
        for method, operation in found.operations.items():
            item[method.lower()] = {
                "tags": [found.tag],
                "operationId": operation.operation_id,
                **_texts(operation),
                **self._request(operation, found.path),
                "responses": self._responses(operation, method, found.path),
            }
        return item

    def _request(self, operation: Operation | OpenOperation, path: str) -> dict[str, Any]:
        if isinstance(operation, OpenOperation):
            return {"security": []}
        parameters = [_query_parameter(each) for each in operation.parameters]
        if _CLUSTER_IN_PATH in path:
            parameters.insert(0, _cluster_parameter())
        parameters.append({"$ref": "#/components/parameters/AsAccountParameter"})
        request: dict[str, Any] = {"parameters": parameters}
        if operation.body is not None:
            content = self._content(operation.body.shape, "validation")
            request["requestBody"] = {"required": operation.body.required, "content": content}
        return request

    def _responses(self, operation: Operation | OpenOperation, method: str, path: str) -> dict[str, Any]:
        responses = {answer.status: self._success(answer) for answer in operation.answers}
        refusals = defaultdict(list)
        for each in _refusals(operation, method, path):
            refusals[each.status].append(each)
        responses |= {status: self._refusal(status, errors) for status, errors in refusals.items()}
        if isinstance(operation, Operation):
            responses[401] = _unauthorized()
        return {str(status): responses[status] for status in sorted(responses)}

    def _success(self, answer: Success) -> dict[str, Any]:
        response: dict[str, Any] = {"description": answer.description}
        if answer.headers:
            response["headers"] = {each.name: _header(each) for each in answer.headers}
        if answer.shape is not None:
            response["content"] = self._content(answer.shape, "serialization")
        return response

    def _refusal(self, status: int, errors: Sequence[ApiError]) -> dict[str, Any]:
        examples = {error.error_type: {"summary": error.message, "value": error_document(error)} for error in errors}
        response: dict[str, Any] = {
            "description": f"Refused: {', '.join(f'`{name}`' for name in examples)}",
            "content": {_JSON: {"schema": self._schemas.of(ApiErrorResponse, "serialization"), "examples": examples}},
        }
        values = {name: value for error in errors for name, value in error.headers.items()}
        if values:
            response["headers"] = {
                name: _header(
                    Header(
                        name,
                        _REFUSAL_HEADERS[name],
                        int(value),
                        always=all(name in error.headers for error in errors),
                    )
                )
                for name, value in values.items()
            }
        return response

    def _content(self, shape: Any, mode: Mode) -> dict[str, Any]:
        return {_JSON: {"schema": self._schemas.of(shape, mode), "example": self._schemas.example(shape, mode)}}


def _texts(operation: Operation | OpenOperation) -> dict[str, str]:
    summary, _, description = (inspect.getdoc(operation.handler) or "").partition("\n\n")
    return {"summary": summary, "description": description}


def _refusals(operation: Operation | OpenOperation, method: str, path: str) -> list[ApiError]:
    """What may be refused: for what is common to all operations, for what this one takes, and by itself."""
    if isinstance(operation, OpenOperation):
        return [*operation.refusals, internal_error()]
    found = [
        invalid_fields([unknown_parameter("limti", [each.name for each in operation.parameters])]),
        *(KNOWN_REFUSALS[each] for each in (AccountForbidden, AccountNotFound, TooManySignIns, DatabaseUnavailable)),
        internal_error(),
        *operation.refusals,
    ]
    if _CLUSTER_IN_PATH in path:
        # The second is for a name that no path can hold.
        found += [KNOWN_REFUSALS[ClusterNotFound], path_not_found()]
    if method not in SAFE_METHODS:
        found.append(cross_site_request())
    if operation.body is not None:
        found += [
            ApiError(400, "invalid_json", "The body is no JSON: line 1 column 1: unexpected character"),
            too_large(operation.body.limit),
            unsupported_media_type("Content-Type: expected application/json"),
        ]
    return found


def _unauthorized() -> dict[str, Any]:
    challenge = Header("WWW-Authenticate", "How to sign in", CHALLENGE)
    return {
        "description": "No user and password, or wrong ones: never told which",
        "headers": {challenge.name: _header(challenge)},
        "content": {"text/plain": {"schema": {"type": "string"}, "example": UNAUTHORIZED}},
    }


def _cluster_parameter() -> dict[str, Any]:
    return {
        "name": "cluster_name",
        "in": "path",
        "required": True,
        "description": "The cluster's name, percent-encoded.",
        "schema": {"type": "string", "minLength": 1, "examples": ["prod"]},
    }


def _query_parameter(parameter: QueryParameter) -> dict[str, Any]:
    # The example stands in the schema: one beside it would be filled into the page's form, and narrow every answer.
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.description,
        "schema": {**parameter.schema, "examples": [parameter.example]},
    }


def _header(header: Header) -> dict[str, Any]:
    return {
        "description": header.description,
        "required": header.always,
        "schema": {"type": "integer" if isinstance(header.example, int) else "string"},
        "example": header.example,
    }
