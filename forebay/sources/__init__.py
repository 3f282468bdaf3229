"""Sources of documents: small connectors with one protocol; `registry` names them all."""
