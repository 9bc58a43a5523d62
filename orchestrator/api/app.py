"""The API as one ASGI application."""

from collections.abc import Callable, Iterable
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from orchestrator.api.auth import Guard
from orchestrator.api.clusters import ClusterRoutes
from orchestrator.api.description import DescriptionRoutes
from orchestrator.api.errors import exception_handlers
from orchestrator.api.inventories import InventoryRoutes
from orchestrator.api.paths import StrictPaths
from orchestrator.api.reports import ReportRoutes
from orchestrator.api.routing import Resource, resource
from orchestrator.api.sources import SourceRoutes
from orchestrator.api.system import SystemRoutes
from orchestrator.api.ui import ui_routes
from orchestrator.catalog.access import Access
from orchestrator.catalog.clusters import ClusterCatalog
from orchestrator.catalog.inventory import InventoryCatalog
from orchestrator.catalog.reports import ReportCatalog
from orchestrator.catalog.sources import SourceCatalog
from orchestrator.catalog.system import System

# Inventories are repetitive: a higher level costs far more time than it saves bytes.
_GZIP_LEVEL: Final = 4


def create_api(
    *,
    access: Access,
    clusters: ClusterCatalog,
    inventory: InventoryCatalog,
    reports: ReportCatalog,
    sources: SourceCatalog,
    system: System,
    service_version: str,
    loop_alive: Callable[[], bool],
    stopping: Callable[[], bool],
) -> Starlette:
    """The application, to be served by any ASGI server that limits the size of headers.

    `loop_alive` is what `/health` speaks for; once `stopping` returns True, requests that wait answer soon.
    """
    guard = Guard(access)
    source_routes = SourceRoutes(sources)
    resources = [
        resource(
            guard,
            "inventory",
            "/inventories",
            {
                "GET": InventoryRoutes(inventory).operation(),
                "POST": ReportRoutes(reports).operation(),
                "DELETE": source_routes.removal(),
            },
        ),
        *source_routes.resources(guard),
        *ClusterRoutes(clusters, stopping=stopping).resources(guard),
        *SystemRoutes(system, service_version=service_version, loop_alive=loop_alive).resources(),
    ]
    return _application([*_routes(resources), *DescriptionRoutes(resources).routes(), *ui_routes()])


def create_probes(system: System, *, service_version: str, loop_alive: Callable[[], bool]) -> Starlette:
    """The application of a process that only looks at clusters: `/health`, `/ready` and `/version`."""
    return _application(
        _routes(SystemRoutes(system, service_version=service_version, loop_alive=loop_alive).resources())
    )


def _routes(resources: Iterable[Resource]) -> list[BaseRoute]:
    return [route for each in resources for route in each.routes]


def _application(routes: list[BaseRoute]) -> Starlette:
    app = Starlette(
        routes=routes,
        middleware=[Middleware(StrictPaths), Middleware(GZipMiddleware, compresslevel=_GZIP_LEVEL)],
        exception_handlers=exception_handlers(),
    )
    app.router.redirect_slashes = False
    return app
