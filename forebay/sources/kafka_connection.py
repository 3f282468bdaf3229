"""How Kafka brokers are reached: the part of librdkafka's configuration that all clients share."""

import logging
from typing import Any

from forebay.errors import ConfigurationError
from forebay.settings import KafkaSettings
from forebay.sources.kafka_address import KafkaAddress

__all__ = ["LOGGER", "connection_config"]

LOGGER = logging.getLogger("forebay.kafka")


def connection_config(address: KafkaAddress, settings: KafkaSettings) -> dict[str, Any]:
    """Make the part of librdkafka's configuration that all clients share.

    Raises:
        ConfigurationError: there is no password, or its file can't be read.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": address.servers,
        "client.id": "forebay",
        "security.protocol": settings.security_protocol,
        # What goes wrong is in the errors; below "critical", every attempt to connect is a line.
        "logger": LOGGER,
        "log_level": 2,
    }
    if settings.security_protocol.startswith("sasl"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username
        config["sasl.password"] = _password(settings)
    if settings.ssl_ca_file is not None:
        config["ssl.ca.location"] = str(settings.ssl_ca_file)
    return config


def _password(settings: KafkaSettings) -> str:
    if settings.sasl_password_file is None:
        if settings.sasl_password is None:
            raise ConfigurationError("the Kafka user has no password; set FOREBAY_KAFKA_SASL_PASSWORD_FILE.")
        return settings.sasl_password.get_secret_value()
    try:
        return settings.sasl_password_file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the password file {str(settings.sasl_password_file)!r} can't be read.") from exc
