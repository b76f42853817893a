"""Payloads that concentrators publish, decoded by a declarative map in the profile. Sans-IO; the client is `headend.ingest`."""

from drivers.push.decode import PushMessage, decode
from drivers.push.document import PayloadError
from drivers.push.topic import match_topic, subscription

__all__ = ["PayloadError", "PushMessage", "decode", "match_topic", "subscription"]
