"""The description held against the one that Anchore Enterprise 3.x published: clients are made from that one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.description import description

DOCUMENT = description()

# What the original's description said of its six operations, and of what they take and give.
ORIGINAL: dict[str, Any] = {
    "operations": {
        "get_image_inventory": (
            "get",
            "/inventories",
            ["context", "image_digest", "inventory_type", "x-anchore-account"],
            None,
            {"200": "[InventoryItem]", "500": None},
        ),
        "sync_image_inventory": (
            "post",
            "/inventories",
            ["x-anchore-account"],
            "InventoryReport",
            {"200": "[InventoryItem]", "500": None},
        ),
        "list_inventory_clusters": (
            "get",
            "/inventories/clusters",
            ["inventory_type", "x-anchore-account"],
            None,
            {"200": "[InventoryCluster]", "500": None},
        ),
        "add_inventory_cluster": (
            "post",
            "/inventories/clusters",
            ["x-anchore-account"],
            "InventoryCluster",
            {"200": "InventoryCluster", "500": None},
        ),
        "get_inventory_cluster_by_name": (
            "get",
            "/inventories/clusters/{cluster_name}",
            ["cluster_name", "x-anchore-account"],
            None,
            {"200": "InventoryCluster", "500": None},
        ),
        "del_inventory_cluster_by_name": (
            "delete",
            "/inventories/clusters/{cluster_name}",
            ["cluster_name", "x-anchore-account"],
            None,
            {"204": None, "500": None},
        ),
    },
    "models": {
        "ApiErrorResponse": {"code": "integer", "detail": "object", "error_type": "string", "message": "string"},
        "InventoryCluster": {
            "cluster_config": "InventoryClusterConfig",
            "cluster_name": "string",
            "inventory_type": "string kubernetes",
        },
        "InventoryClusterConfig": {
            "client_certificate": "string",
            "cluster_certificate": "string",
            "cluster_server": "string",
            "credential": "string",
            "credential_type": "string private_key|token",
            "namespaces": "[string]",
        },
        "InventoryItem": {
            "context": "string",
            "created_at": "string date-time",
            "image_digest": "string",
            "image_tag": "string",
            "inventory_type": "string",
            "last_seen": "string date-time",
            "last_updated": "string date-time",
        },
        "InventoryReport": {
            "cluster_name": "string",
            "inventory_type": "string",
            "results": "[InventoryReportItem]",
            "timestamp": "string date-time",
        },
        "InventoryReportImage": {"repoDigest": "string", "tag": "string"},
        "InventoryReportItem": {"images": "[InventoryReportImage]", "namespace": "string"},
    },
}
CONTRACT = Path(__file__).parents[4] / "shared" / "contract" / "enterprise-inventories.json"

# Where ours have other names: what is taken differs from what is given.
OUR_BODIES = {"InventoryCluster": "InventoryClusterBody"}


def test_what_is_held_for_the_original_is_the_original() -> None:
    if CONTRACT.exists():
        assert facts_of(json.loads(CONTRACT.read_text(encoding="utf-8"))) == ORIGINAL


def facts_of(contract: dict[str, Any]) -> dict[str, Any]:
    """A Swagger 2.0 document in the short form of `ORIGINAL`."""
    arrays = {
        name: f"[{type_of(each['items'])}]" for name, each in contract["definitions"].items() if each["type"] == "array"
    }

    def shape(holder: dict[str, Any]) -> str | None:
        name = type_of(holder["schema"]) if "schema" in holder else None
        return arrays.get(name, name) if name else None

    operations = {}
    for path, item in contract["paths"].items():
        for method, operation in item.items():
            given = [
                contract["parameters"]["AsAccountParameter"] if "$ref" in each else each
                for each in operation["parameters"]
            ]
            bodies = [shape(each) for each in given if each["in"] == "body"]
            operations[operation["operationId"]] = (
                method,
                path,
                sorted(each["name"] for each in given if each["in"] != "body"),
                bodies[0] if bodies else None,
                {status: shape(response) for status, response in operation["responses"].items()},
            )
    models = {
        name: {field: type_of(schema) for field, schema in each["properties"].items()}
        for name, each in contract["definitions"].items()
        if each["type"] == "object"
    }
    return {"operations": operations, "models": models}


def type_of(schema: dict[str, Any]) -> str:
    """A schema in short: a model's name, or its type with its format or choices. Null beside it is left out."""
    if "anyOf" in schema:
        [schema_] = [each for each in schema["anyOf"] if each != {"type": "null"}]
        schema = {**schema_, **({"format": schema["format"]} if "format" in schema else {})}
    if "$ref" in schema:
        name: str = schema["$ref"].rpartition("/")[2]
        found = DOCUMENT["components"]["schemas"].get(name, {})
        return type_of(found) if "enum" in found else name
    if schema["type"] == "array":
        return f"[{type_of(schema['items'])}]"
    more = schema.get("format", "") if schema["type"] != "integer" else ""
    return " ".join(filter(None, [schema["type"], more, "|".join(sorted(schema.get("enum", ())))]))


@pytest.mark.parametrize("operation_id", ORIGINAL["operations"])
def test_the_original_s_operations_are_as_they_were(operation_id: str) -> None:
    method, path, parameters, body, answers = ORIGINAL["operations"][operation_id]
    operation = DOCUMENT["paths"][path][method]
    assert operation["operationId"] == operation_id
    assert DOCUMENT["servers"][0]["url"] == "/v1/enterprise"
    ours = [
        DOCUMENT["components"]["parameters"]["AsAccountParameter"] if "$ref" in each else each
        for each in operation["parameters"]
    ]
    required = {each["name"] for each in ours if each["required"]}
    assert required == {"cluster_name"} & set(parameters)
    assert set(parameters) <= {each["name"] for each in ours}
    for each in ours:
        if each["name"] == "inventory_type":
            assert type_of(each["schema"]) == "string kubernetes"
        elif each["name"] in parameters:
            assert type_of(each["schema"]) == "string"
    if body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert type_of(schema) == OUR_BODIES.get(body, body)
    for status, answer in answers.items():
        content = operation["responses"][status].get("content", {})
        if answer is not None:
            assert type_of(content["application/json"]["schema"]) == answer


@pytest.mark.parametrize("model", ORIGINAL["models"])
def test_the_original_s_fields_are_as_they_were(model: str) -> None:
    """Ours may have more fields, and may say more about one: a choice where the original took any text."""
    schemas = DOCUMENT["components"]["schemas"]
    given_by_us = {"InventoryCluster", "InventoryClusterConfig", "InventoryItem", "ApiErrorResponse"}
    for ours in (model, f"{model}Body"):
        if ours in schemas:
            fields = schemas[ours]["properties"]
            for field, original in ORIGINAL["models"][model].items():
                found = type_of(fields[field])
                if ours in given_by_us:
                    assert "null" not in json.dumps(fields[field]), "a client made from the original takes no null"
                same = {"ErrorDetail": "object", f"{original}Body": original}.get(found, found)
                assert same == original or same.startswith(f"{original} "), (ours, field)
