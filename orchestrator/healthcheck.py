"""Asks the service on this machine whether it and its loop are alive; the container's HEALTHCHECK.

    python -m orchestrator.healthcheck

Finds it as the service itself was told where to listen: by the environment and config.yaml (not by flags). Exits 0
when it is healthy, else 1 with a line that says why not.
"""

import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from ipaddress import ip_address

from orchestrator.config_file import SettingsError
from orchestrator.settings import Settings
from orchestrator.settings_loader import load_settings

TIMEOUT_SECONDS = 4.0


def check(settings: Settings, *, timeout: float = TIMEOUT_SECONDS) -> str | None:
    """What is wrong with the service that listens as these settings say, None when it is healthy."""
    connection = _connect(settings, timeout)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = response.read(1024)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {connection.host}:{connection.port}: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if response.status == http.client.OK else f"{response.status}: {body.decode(errors='replace')}"


def _connect(settings: Settings, timeout: float) -> http.client.HTTPConnection:
    host = _reachable(settings.host)
    if settings.tls_certificate_file is None:
        return http.client.HTTPConnection(host, settings.port, timeout=timeout)
    # The certificate is for the name that clients use. Nothing secret is sent, and nothing but a status is believed.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.port, timeout=timeout, context=context)


def _reachable(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Check the service of this environment; returns the exit code."""
    try:
        settings, _ = load_settings(environ, {})
    except SettingsError as error:
        problem: str | None = str(error)
    else:
        problem = check(settings)
    if problem is not None:
        sys.stdout.write(f"{problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
