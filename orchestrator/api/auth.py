"""Who a request comes from: HTTP Basic, and the account that `x-anchore-account` asks for."""

import base64
import binascii
from typing import Final

import structlog
from pydantic import SecretStr
from starlette.requests import Request

from orchestrator.api.errors import ACCOUNT_HEADER, ApiError, Unauthorized
from orchestrator.catalog.access import Access, Caller, SignInRefused

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

_log = structlog.get_logger(__name__)


class Guard:
    """Lets requests in."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def admit(self, request: Request) -> Caller:
        """The caller. Raises Unauthorized, TooManySignIns, AccountForbidden, AccountNotFound, ApiError,
        DatabaseUnavailable.

        kai sends `x-anchore-account` always; one's own account is always allowed, another for admins only.
        """
        _refuse_cross_site(request)
        username, password = _basic_credentials(request)
        try:
            user = await self._access.sign_in(username, password)
        except SignInRefused as refused:
            client = request.client.host if request.client else None
            _log.warning("sign-in refused", user=refused.known_user or "(unknown)", client=client)
            raise Unauthorized from refused
        return await self._access.enter(user, _account(request))


def cross_site_request() -> ApiError:
    """403 for a change that another site's page asks for."""
    return ApiError(403, "cross_site_request", "Another site's page may not change anything here")


def _refuse_cross_site(request: Request) -> None:
    # A browser that knows the password sends it along with whatever a foreign page makes it POST. Browsers say so
    # in this header, other clients do not send it: https://www.w3.org/TR/fetch-metadata/
    site = request.headers.get("sec-fetch-site", "none")
    if request.method not in SAFE_METHODS and site not in {"same-origin", "none"}:
        raise cross_site_request()


def _basic_credentials(request: Request) -> tuple[str, SecretStr]:
    values = request.headers.getlist("authorization")
    scheme, _, encoded = (values[0] if len(values) == 1 else "").partition(" ")
    if scheme.lower() != "basic":
        raise Unauthorized
    try:
        decoded = base64.b64decode(encoded.strip(" "), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized from None
    username, colon, password = decoded.partition(":")
    if not colon:
        raise Unauthorized
    return username, SecretStr(password)


def _account(request: Request) -> str | None:
    values = request.headers.getlist(ACCOUNT_HEADER)
    if not values:
        return None
    if len(values) > 1:
        raise ApiError(400, "invalid_field", f"{ACCOUNT_HEADER}: given more than once")
    # Starlette reads headers as Latin-1; whoever sends more than ASCII sends UTF-8.
    return values[0].encode("latin-1").decode("utf-8", "replace") or None
