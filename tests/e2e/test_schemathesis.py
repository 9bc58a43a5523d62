"""The service held against its own description, operation by operation, with requests that are made from it: within
its rules, at their edges, and beyond. No 5xx, and every answer as described: status code, type, schema and headers.
"""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import assume, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.description import description
from tests.e2e.server import PASSWORD, Server, running_server

SIGNED_IN = schemathesis.Config.from_dict({"auth": {"basic": {"username": "admin", "password": PASSWORD}}})
DOCUMENT = description()
API = schemathesis.openapi.from_dict(DOCUMENT, config=SIGNED_IN)
API_WITHOUT_CREDENTIALS = schemathesis.openapi.from_dict(DOCUMENT)

# The same requests at every run, besides those that are made of examples and of the edges of the schemas.
BOUNDED = settings(max_examples=15, derandomize=True, deadline=None, database=None)

# Some rules no schema can tell, such as which cursor follows which page.
UNTOLD = [positive_data_acceptance]
# An image entry that cannot be taken is left out of a report, and refuses nothing.
TOLERANT = {"sync_image_inventory": [negative_data_rejection]}

# What says where a message ends is not the API's: a server refuses a contradiction before anybody sees the request.
FRAMING = {"content-length", "transfer-encoding", "connection", "expect", "upgrade", "host"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("described") / "data") as started:
        yield started


@API.parametrize()
@BOUNDED
def test_every_answer_is_as_described(server: Server, case: schemathesis.Case) -> None:
    assume(FRAMING.isdisjoint(name.lower() for name in case.headers))
    excluded = UNTOLD + TOLERANT.get(operation_of(case)["operationId"], [])
    case.call_and_validate(base_url=base_url(server, case), excluded_checks=excluded)


@API_WITHOUT_CREDENTIALS.parametrize()
@BOUNDED
def test_without_credentials_every_answer_is_as_described_too(server: Server, case: schemathesis.Case) -> None:
    assume(FRAMING.isdisjoint(name.lower() for name in case.headers))
    case.headers.pop("Authorization", None)
    response = case.call_and_validate(base_url=base_url(server, case), excluded_checks=UNTOLD)
    if operation_of(case).get("security") == []:
        assert response.status_code in {200, 405}
    else:
        # Where nothing can be is told to everybody, and so is what can be done elsewhere.
        assert response.status_code in {401, 405} or response.json()["error_type"] == "no_such_path"


def operation_of(case: schemathesis.Case) -> dict[str, object]:
    found: dict[str, object] = DOCUMENT["paths"][case.operation.path][case.operation.method]
    return found


def base_url(server: Server, case: schemathesis.Case) -> str:
    """Where the description says that the operation is."""
    servers = DOCUMENT["paths"][case.operation.path].get("servers", DOCUMENT["servers"])
    return server.url + servers[0]["url"].rstrip("/")
