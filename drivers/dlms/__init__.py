"""DLMS/COSEM: our own core, sans-IO, both directions. Only `session` and `driver` may await."""
