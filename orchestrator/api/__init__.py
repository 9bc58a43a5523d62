"""The REST API: Starlette routes, one module a resource, on top of the catalog."""
