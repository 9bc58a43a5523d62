"""A page on which the API can be read and tried, at `/v1/enterprise/ui/`: Swagger UI, all of it served from here.

Its files come with the package offapi, which holds those of npm's swagger-ui-dist unchanged. They are read from where
it is installed without importing it: that would load other viewers, too, and keep them in memory.
"""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from orchestrator.api.description import DESCRIPTION_PATH
from orchestrator.api.responses import COMMON_HEADERS
from orchestrator.api.routing import BASES

_Page: TypeAlias = Callable[[Request], Awaitable[Response]]

_SCRIPT: Final = "swagger-ui-bundle.js"
_STYLE: Final = "swagger-ui.css"
_START: Final = "start.js"

# Nothing but what is served from here runs or is loaded, and no foreign page shows this one in a frame.
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    **COMMON_HEADERS,
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
}
# They change with the package only; and they are large.
_FILE_HEADERS: Final = {**COMMON_HEADERS, "Cache-Control": "public, max-age=3600"}

_HTML: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kai-orchestrator: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{ui}/{style}">
</head>
<body>
<div id="page" data-description="{description}"></div>
<script src="{ui}/{script}"></script>
<script src="{ui}/{start}"></script>
</body>
</html>
"""

# The badge that would ask a server on the internet about the description is off.
_START_SCRIPT: Final = """\
"use strict";
const page = document.getElementById("page");
SwaggerUIBundle({
  domNode: page,
  url: page.dataset.description,
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""


def ui_routes() -> list[Route]:
    """The page's routes, which need no password. Raises PackageNotFoundError when offapi is not installed."""
    package = distribution("offapi")
    script = _file(Path(str(package.locate_file("offapi/swagger_bundle.js"))), "text/javascript")
    style = _file(Path(str(package.locate_file("offapi/swagger_style.css"))), "text/css")
    start = _text(_START_SCRIPT, "text/javascript", COMMON_HEADERS)
    routes = []
    for base in BASES:
        ui = base + "/ui"
        html = _HTML.format(ui=ui, style=_STYLE, script=_SCRIPT, start=_START, description=base + DESCRIPTION_PATH)
        routes += [
            Route(ui, _text(html, "text/html", _PAGE_HEADERS), include_in_schema=False),
            Route(f"{ui}/{_START}", start, include_in_schema=False),
            Route(f"{ui}/{_SCRIPT}", script, include_in_schema=False),
            Route(f"{ui}/{_STYLE}", style, include_in_schema=False),
        ]
    return routes


def _text(content: str, media_type: str, headers: Mapping[str, str]) -> _Page:
    async def page(_request: Request) -> Response:
        return Response(content, 200, headers, media_type)

    return page


def _file(path: Path, media_type: str) -> _Page:
    async def page(_request: Request) -> Response:
        return FileResponse(path, headers=_FILE_HEADERS, media_type=media_type)

    return page
