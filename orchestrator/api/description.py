"""Where the API's description is served: at the name it has today, and at the one that the original's clients know.

Without a password: it tells nothing about who uses the service, and tools that make clients of it have none.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api.openapi import describe
from orchestrator.api.responses import JsonResponse
from orchestrator.api.routing import BASES, OpenOperation, Resource, Success, open_resource
from orchestrator.api.schemas import Given
from orchestrator.api.system import API_VERSION

DESCRIPTION_PATH: Final = "/openapi.json"

_TAG: Final = "system"


class OpenApiDocument(Given):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow")

    openapi: Annotated[str, Field(examples=["3.1.1"])]
    info: Annotated[dict[str, Any], Field(examples=[{"title": "kai-orchestrator", "version": API_VERSION}])]
    paths: Annotated[dict[str, Any], Field(examples=[{}])]


class DescriptionRoutes:
    """The description of all `resources`, and of itself."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        answers = (Success(200, "The description", OpenApiDocument),)
        openapi = OpenOperation(handler=self.get, operation_id="get_openapi", answers=answers)
        swagger = OpenOperation(handler=self.get, operation_id="get_swagger", answers=answers)
        self._resources = [
            open_resource(_TAG, DESCRIPTION_PATH, openapi, bases=BASES),
            open_resource(_TAG, "/swagger.json", swagger, bases=BASES),
        ]
        self.document = describe([*resources, *self._resources], version=API_VERSION)

    def routes(self) -> list[Route]:
        """Its routes, which need no password."""
        return [route for each in self._resources for route in each.routes]

    async def get(self, _request: Request) -> Response:
        """Get this description

        OpenAPI 3.1, made from the code that answers. `swagger.json` is the same, where the original had its own.
        """
        return JsonResponse(self.document)
