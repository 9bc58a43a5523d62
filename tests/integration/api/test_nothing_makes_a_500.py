"""Whatever a client sends, the answer is a refusal in the one shape or a success: never a 500, never the credential."""

import json
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from starlette.types import Message

from orchestrator.api.inventories import FILTERS
from tests.integration.api.asgi import exchange
from tests.integration.api.conftest import CLUSTERS, CREDENTIAL, INVENTORIES, Service, body

pytestmark = pytest.mark.anyio

# The database lives as long as the test: what one example stored is there for the next.
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ANY_TEXT = st.text(st.characters(), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just(10**400)


def nested(scalars: SearchStrategy[object]) -> SearchStrategy[object]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=6
    )


JSON_VALUES = nested(SCALARS)
# The canary goes nowhere but into the credential: what else a cluster holds is given back.
CONFIG_VALUES = {
    **dict.fromkeys([*body()["cluster_config"], "x"], JSON_VALUES),  # type: ignore[misc]
    "credential": nested(SCALARS | st.just(CREDENTIAL)),
}
PATH_PARTS = st.sampled_from(
    ["v1", "enterprise", "inventories", "clusters", "prod", "status", "runs", "sync", "health", "ready", "version", ""]
) | st.binary(max_size=12).map(lambda raw: quote_from_bytes(raw, safe="%"))
NAMES = st.binary(min_size=1, max_size=40).map(quote_from_bytes) | st.text(min_size=1, max_size=40).map(quote)
PATHS = (
    st.lists(PATH_PARTS, max_size=8).map(lambda parts: "/" + "/".join(parts))
    | NAMES.map(lambda name: f"{CLUSTERS}/{name}")
    | st.builds(lambda name, tail: f"{CLUSTERS}/{name}/{tail}", NAMES, st.sampled_from(["status", "runs", "sync"]))
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X" * 40])


def pairs(names: SearchStrategy[str]) -> SearchStrategy[bytes]:
    value = st.binary(max_size=20).map(quote_from_bytes) | ANY_TEXT.map(lambda t: quote(t, errors="surrogatepass"))
    pair = st.tuples(names, value).map("=".join)
    return st.lists(pair, max_size=4).map(lambda found: "&".join(found).encode())


QUERIES = pairs(st.sampled_from([*(each.name for each in FILTERS), "limit", "cursor", "wait"])) | st.binary(max_size=30)


async def checked(service: Service, **request: object) -> None:
    messages: list[Message] = []
    await exchange(service.app, messages, **request)  # type: ignore[arg-type]
    status = messages[0]["status"]
    headers = {name.decode(): value.decode("latin-1") for name, value in messages[0]["headers"]}
    content = b"".join(message.get("body", b"") for message in messages[1:])
    assert status < 500, content
    assert CREDENTIAL.encode() not in content
    assert not 300 <= status < 400
    assert messages[-1].get("more_body", False) is False
    if status >= 400 and status != 401:
        document = json.loads(content)
        assert document["code"] == document["httpcode"] == status
        assert document["detail"]["error_codes"] == [document["error_type"]]
        assert headers["content-type"] == "application/json"


@FUZZ
@given(method=METHODS, path=PATHS, query=st.just(b"") | QUERIES)
@example(method="GET", path=f"{CLUSTERS}/%00", query=b"")
@example(method="GET", path=f"{CLUSTERS}/%ED%B3%BF", query=b"")
@example(method="GET", path=f"{CLUSTERS}/" + "%F0%9F%A6%80" * 3000, query=b"")
@example(method="POST", path=f"{CLUSTERS}/x/sync", query=b"wait=" + b"9" * 5000)
async def test_no_path_makes_a_500(service: Service, method: str, path: str, query: bytes) -> None:
    await checked(service, method=method, raw_path=path, query=query)


@FUZZ
@given(query=QUERIES)
@example(query=b"limit=" + b"9" * 10_000)
@example(query=b"context=%00")
@example(query=b"image_tag=" + b"%F4%8F%BF%BF" * 2000)
@example(query=b"cursor=" + b"A" * 100)
@example(query=b"\xff=\xff")
@example(query=b"&" * 10_000)
@example(query=b"context=" + b"9" * 100_000)
async def test_no_query_makes_a_500(service: Service, query: bytes) -> None:
    await checked(service, raw_path=INVENTORIES, query=query)


@FUZZ
@given(
    change=st.dictionaries(st.sampled_from([*body(), "extra"]), JSON_VALUES, max_size=2),
    config=st.fixed_dictionaries({}, optional=CONFIG_VALUES),
    put=st.booleans(),
)
async def test_no_body_makes_a_500(
    service: Service, *, change: dict[str, object], config: dict[str, object], put: bool
) -> None:
    document = {**body(**config), **change}
    content = json.dumps(document).encode()
    await checked(
        service,
        method="PUT" if put else "POST",
        raw_path=f"{CLUSTERS}/prod" if put else CLUSTERS,
        headers={"content-type": "application/json"},
        chunks=[content[: len(content) // 2], content[len(content) // 2 :]],
    )
    await checked(service, raw_path=CLUSTERS)


@FUZZ
@given(
    content=st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    content_type=st.sampled_from([b"application/json", b"text/plain", b"\xff"]) | st.binary(max_size=20),
)
@example(content=b"[" * 200_000, content_type=b"application/json")
@example(content=b'{"a":' * 1000 + b"1" + b"}" * 1000, content_type=b"application/json")
@example(content=b"1" * 500_000, content_type=b"application/json")
@example(content=b'{"cluster_name": ' + b"1" * 10_000 + b"}", content_type=b"application/json")
async def test_no_bytes_make_a_500(service: Service, content: bytes, content_type: bytes) -> None:
    headers = {"content-type": content_type}
    await checked(service, method="POST", raw_path=CLUSTERS, headers=headers, chunks=[content])


@FUZZ
@given(
    authorization=st.none() | st.binary(max_size=60) | st.binary(max_size=40).map(lambda raw: b"Basic " + raw),
    account=st.none() | st.binary(max_size=40) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
    length=st.none() | st.binary(max_size=20) | st.just("²".encode("latin-1")) | st.just(b"9" * 6000),
)
async def test_no_header_makes_a_500(
    service: Service, authorization: bytes | None, account: bytes | None, length: bytes | None
) -> None:
    given_headers = {"authorization": authorization, "x-anchore-account": account, "content-length": length}
    headers = {name: value for name, value in given_headers.items() if value is not None}
    await checked(service, raw_path=CLUSTERS, headers=headers)
    headers["content-type"] = b"application/json"
    await checked(service, raw_path=CLUSTERS, method="POST", headers=headers, chunks=[b"{}"])
