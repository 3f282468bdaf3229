"""The one launcher of the online side: `python -m bentos.serve`."""

import math
import os
import socket
import sys
from pathlib import Path

from forebay.cli.configuration import load_settings
from forebay.errors import ConfigurationError
from forebay.settings import PathSettings, ServingSettings

__all__ = ["main", "require_free_port", "serving_environment"]

# What the gateway takes to end what is under way, once its own limit has passed.
_MARGIN_S = 3


def require_free_port(host: str, port: int) -> None:
    """Make sure that the gateway can listen.

    Raises:
        ConfigurationError: the port is taken, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise ConfigurationError(
                f"the gateway can't listen on {host}:{port} ({exc.strerror}). "
                "Stop what uses the port, or set FOREBAY_SERVING_PORT to a free one."
            ) from exc


def serving_environment(paths: PathSettings) -> dict[str, str]:
    """Build BentoML's environment: no telemetry, its files in the data folder."""
    home = paths.data.absolute() / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    return {**os.environ, "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(home)}


def main() -> None:
    """Check the port and become `bentoml serve`."""
    try:
        settings = load_settings(ServingSettings)
        require_free_port(settings.host, settings.port)
        environment = serving_environment(PathSettings())
    except (ConfigurationError, OSError) as exc:
        sys.exit(f"error: {exc}")
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "bentoml", "serve", "bentos.gateway.service:Gateway"]
    command += ["--working-dir", str(root), "--host", settings.host, "--port", str(settings.port)]
    command += ["--timeout-graceful-shutdown", str(math.ceil(settings.drain_s) + _MARGIN_S)]
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    main()
