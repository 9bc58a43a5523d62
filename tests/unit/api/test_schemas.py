"""Models that describe what is read without them: held to what is read."""

import json
from typing import Any

import pytest

from orchestrator.api.schemas import InventoryReport
from orchestrator.model.report import MalformedReport, parse_report, subject_of
from tests.description import description

EXAMPLE = description()["paths"]["/inventories"]["post"]["requestBody"]["content"]["application/json"]["example"]
REPORT: dict[str, Any] = {"cluster_name": "prod", "results": [{"namespace": "web", "images": [{"tag": "a:1"}]}]}


@pytest.mark.parametrize(
    "report",
    [
        REPORT,
        EXAMPLE,
        {**REPORT, "timestamp": None, "inventory_type": None, "serverVersionMetadata": None, "more": 1},
        {**REPORT, "serverVersionMetadata": {"major": "1"}},
        {**REPORT, "results": []},
        {**REPORT, "results": [{"namespace": "web", "images": [{"tag": "a:1", "repoDigest": None}]}]},
    ],
)
def test_a_report_of_the_model_is_taken(report: dict[str, Any]) -> None:
    InventoryReport.model_validate(report)
    subject_of(parse_report(json.dumps(report).encode()), None)


@pytest.mark.parametrize(
    "change",
    [
        {"results": None},
        {"results": {}},
        {"results": [7]},
        {"results": [{"images": []}]},
        {"results": [{"namespace": "", "images": []}]},
        {"results": [{"namespace": "x" * 254, "images": []}]},
        {"results": [{"namespace": "web"}]},
        {"results": [{"namespace": "web", "images": None}]},
        {"cluster_name": 7},
        {"cluster_name": "x" * 1025},
        {"inventory_type": 7},
        {"timestamp": 7},
        {"serverVersionMetadata": "v1"},
        {"serverVersionMetadata": {"gitVersion": 7}},
        {"serverVersionMetadata": {"gitVersion": "x" * 257}},
    ],
)
def test_what_is_no_report_of_the_model_is_refused(change: dict[str, Any]) -> None:
    document = {**REPORT, **change}
    with pytest.raises(ValueError, match="validation error"):
        InventoryReport.model_validate(document)
    with pytest.raises(MalformedReport):
        parse_report(json.dumps(document).encode())
