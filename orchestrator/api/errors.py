"""Refusals, all made here in one shape; only the 401 is plain text, as the original has it.

    {"message": str, "httpcode": int, "detail": {"error_codes": [str], ...}, "code": int, "error_type": str}

`httpcode` and `detail.error_codes` are what the original's wire shows, `code` and `error_type` the names of its
published schema. `detail.errors` lists the fields of a body or query that were refused: `{"field", "problem"}`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ExceptionHandler

from orchestrator.api.responses import COMMON_HEADERS, JsonResponse
from orchestrator.catalog.access import AccountForbidden, AccountNotFound, TooManySignIns
from orchestrator.catalog.clusters import ClusterExists, ClusterNotFound
from orchestrator.catalog.reports import ReportRefused
from orchestrator.catalog.system import DatabaseUnavailable
from orchestrator.model.fields import InvalidField

ACCOUNT_HEADER: Final = "x-anchore-account"
RUN_ID_HEADER: Final = "X-Inventory-Run-Id"

UNAUTHORIZED: Final = "Unauthorized"
CHALLENGE: Final = 'basic realm="Authentication required"'
"""The plain text of a 401, and its `WWW-Authenticate`."""

_log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 5
_MAX_FIELDS_NAMED: Final = 10


class ApiError(Exception):
    """A refusal: `error_type` is a stable name for programs, `message` is for people and repeats nothing secret."""

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[InvalidField] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.headers = dict(headers or {})
        self.errors = tuple(errors)


class Unauthorized(Exception):
    """No credentials, or wrong ones: never told which."""


def invalid_fields(errors: Sequence[InvalidField]) -> ApiError:
    """400 that names every field that was refused, and what was expected there."""
    shown = errors[:_MAX_FIELDS_NAMED]
    message = "; ".join(str(error) for error in shown)
    if len(errors) > len(shown):
        message += f"; and {len(errors) - len(shown)} more"
    return ApiError(400, "invalid_field", message, errors=shown)


def error_document(error: ApiError) -> dict[str, Any]:
    """The body of a refusal, as `schemas.ApiErrorResponse` has it."""
    detail: dict[str, Any] = {"error_codes": [error.error_type]}
    if error.errors:
        detail["errors"] = [{"field": each.field, "problem": each.problem} for each in error.errors]
    return {
        "message": error.message,
        "httpcode": error.status,
        "detail": detail,
        "code": error.status,
        "error_type": error.error_type,
    }


def error_response(error: ApiError) -> Response:
    """The refusal as it goes over the wire."""
    return JsonResponse(error_document(error), error.status, error.headers)


def unavailable(error_type: str, message: str, *, retry_seconds: int = _RETRY_SECONDS) -> ApiError:
    """503 that says when to try again."""
    return ApiError(503, error_type, message, headers={"Retry-After": str(retry_seconds)})


def report_refused(refusal: ReportRefused) -> ApiError:
    """400 that says where a posted report is malformed, and which run of the history tells it."""
    return ApiError(
        400,
        "invalid_report",
        str(refusal),
        headers={RUN_ID_HEADER: str(refusal.run_id)},
        errors=[InvalidField(refusal.field, refusal.problem)],
    )


def internal_error() -> ApiError:
    """500 for a bug of ours."""
    return ApiError(500, "internal_error", "Something went wrong in the service; its log says what")


def path_not_found() -> ApiError:
    """404 for a path where nothing is."""
    return ApiError(404, "no_such_path", "There is nothing at this path")


def exception_handlers() -> dict[Any, ExceptionHandler]:
    """What Starlette is to make of each exception that a route lets through."""
    return {
        ApiError: _api_error,
        Unauthorized: _unauthorized,
        InvalidField: _invalid_field,
        ReportRefused: _report_refused,
        HTTPException: _http_exception,
        ClientDisconnect: _client_disconnect,
        Exception: _unexpected,
        **dict.fromkeys(KNOWN_REFUSALS, _known),
    }


KNOWN_REFUSALS: Final[Mapping[type[Exception], ApiError]] = {
    ClusterNotFound: ApiError(404, "cluster_not_found", "There is no cluster of this name"),
    ClusterExists: ApiError(409, "cluster_exists", "There is a cluster of this name already: PUT replaces it"),
    AccountNotFound: ApiError(404, "account_not_found", f"{ACCOUNT_HEADER}: there is no account of this name"),
    AccountForbidden: ApiError(
        403, "account_forbidden", f"{ACCOUNT_HEADER}: only users of the account admin may act in another account"
    ),
    TooManySignIns: unavailable(
        "too_many_sign_ins", "Too many passwords wait to be checked: try again in a moment", retry_seconds=1
    ),
    DatabaseUnavailable: unavailable(
        "database_unavailable", "The database cannot be used just now: try again in a moment"
    ),
}
"""What the exceptions of the catalog come to, whichever operation they come through."""


async def _known(request: Request, error: Exception) -> Response:
    if isinstance(error, DatabaseUnavailable):
        # Why is for the operator, not for the caller; and a process that only answers has no loop that would tell.
        _log.warning("answered with 503: the database cannot be used", path=request.url.path, error=str(error))
    return error_response(KNOWN_REFUSALS[type(error)])


async def _api_error(_request: Request, error: Exception) -> Response:
    return error_response(cast(ApiError, error))


async def _invalid_field(_request: Request, error: Exception) -> Response:
    return error_response(invalid_fields([cast(InvalidField, error)]))


async def _report_refused(_request: Request, exception: Exception) -> Response:
    return error_response(report_refused(cast(ReportRefused, exception)))


async def _unauthorized(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(UNAUTHORIZED, 401, {**COMMON_HEADERS, "WWW-Authenticate": CHALLENGE})


async def _http_exception(_request: Request, exception: Exception) -> Response:
    error = cast(HTTPException, exception)
    if error.status_code == 404:
        return error_response(path_not_found())
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        message = f"This path takes {allowed}"
        return error_response(ApiError(405, "method_not_allowed", message, headers={"Allow": allowed}))
    status = HTTPStatus(error.status_code)
    error_type = status.phrase.lower().replace(" ", "_")
    return error_response(ApiError(error.status_code, error_type, error.detail, headers=headers))


async def _client_disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody is left to read it.
    return error_response(ApiError(400, "client_left", "The request ended before its body did"))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # Starlette raises the exception again after this answer, and the server logs it.
    return error_response(internal_error())
