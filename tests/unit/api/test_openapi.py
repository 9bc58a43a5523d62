"""The description: that it leaves nothing out, and that its examples hold."""

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from starlette.routing import Route

from orchestrator.api.json_schemas import Schemas
from orchestrator.api.routing import BASES
from tests.description import description, idle_api

DOCUMENT = description()
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
OPERATIONS = {
    f"{method.upper()} {path}": (path, item[method])
    for path, item in DOCUMENT["paths"].items()
    for method in METHODS
    if method in item
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def responses(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from operation["responses"].items()


def examples(media_type: dict[str, Any]) -> list[Any]:
    found = [each["value"] for each in media_type.get("examples", {}).values()]
    return found + ([media_type["example"]] if "example" in media_type else [])


def validator(schema: dict[str, Any]) -> OAS31Validator:
    """Of one schema, which may refer to the document's others."""
    return OAS31Validator(
        {**schema, "components": DOCUMENT["components"]}, format_checker=OAS31Validator.FORMAT_CHECKER
    )


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_every_route_is_described_and_nothing_else() -> None:
    served = set()
    for route in idle_api().routes:
        assert isinstance(route, Route)
        if route.include_in_schema:
            served |= {(route.path, method.lower()) for method in route.methods or () if method != "HEAD"}
    described = {
        (server["url"].rstrip("/") + path, method)
        for path, item in DOCUMENT["paths"].items()
        for server in item.get("servers", DOCUMENT["servers"])
        for method in METHODS
        if method in item
    }
    assert described == served


def test_only_the_page_is_left_out() -> None:
    left_out = [route.path for route in idle_api().routes if isinstance(route, Route) and not route.include_in_schema]
    assert left_out
    assert all(
        path.removeprefix(base).startswith("/ui") for path in left_out for base in BASES if path.startswith(base)
    )


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids)) == 18


@each_operation
def test_an_operation_lacks_nothing(name: str) -> None:
    path, operation = OPERATIONS[name]
    assert operation["summary"]
    assert "\n" not in operation["summary"]
    assert len(operation["description"]) > len(operation["summary"])
    assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}
    for parameter in operation.get("parameters", ()):
        if "$ref" not in parameter:
            assert parameter["description"]
            assert parameter["schema"]["examples"] or parameter["schema"]["enum"]
    in_path = {each["name"] for each in operation.get("parameters", ()) if each.get("in") == "path"}
    assert in_path == ({"cluster_name"} if "{cluster_name}" in path else set())
    needed = {"500"} if operation.get("security") == [] else {"400", "401", "403", "404", "500", "503"}
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]["application/json"]["example"] is not None
        needed |= {"413", "415"}
    assert needed <= set(operation["responses"])
    assert any(status.startswith("2") for status in operation["responses"])
    for status, response in responses(operation):
        assert response["description"]
        assert ("content" in response) is (status != "204")
        for media_type in response.get("content", {}).values():
            assert media_type["schema"]
            assert examples(media_type)
        for header in response.get("headers", {}).values():
            assert header["description"]
            assert header["example"] is not None


@each_operation
def test_its_examples_are_of_their_schemas(name: str) -> None:
    _, operation = OPERATIONS[name]
    contents = [operation["requestBody"]["content"]] if "requestBody" in operation else []
    contents += [response["content"] for _, response in responses(operation) if "content" in response]
    for content in contents:
        for media_type in content.values():
            for example in examples(media_type):
                validator(media_type["schema"]).validate(example)
    for parameter in operation.get("parameters", ()):
        for example in parameter.get("schema", {}).get("examples", ()):
            validator(parameter["schema"]).validate(example)
    for _, response in responses(operation):
        for header in response.get("headers", {}).values():
            validator(header["schema"]).validate(header["example"])


def test_every_field_of_a_model_can_be_told_from_its_type() -> None:
    """A schema without a type takes everything, and says nothing."""
    for name, model in DOCUMENT["components"]["schemas"].items():
        for field, schema in model.get("properties", {}).items():
            assert schema.keys() & {"type", "anyOf", "$ref", "enum"}, f"{name}.{field}"


def test_a_field_without_an_example_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="has no example"):
        Schemas([(list[int], "serialization")]).example(list[int], "serialization")
