"""`HttpExchange`: requests to a real server, through influxdb-client (extra ``influx``) and the urllib3 under it.

The generated write service is called, not the client's write API: its batching mode only logs a 404, and its synchronous mode
does not tell a 200 from a 204.
"""

import asyncio
from urllib.parse import urlencode

from influxdb_client import InfluxDBClient, WriteService
from influxdb_client.rest import ApiException
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from headend.settings import SinkSettings
from headend.sinks.influx import Answer, Form

_MILLISECONDS = 1_000
_TEXT = "text/plain; charset=utf-8"


class HttpExchange:
    """One server. Each request runs in a thread, one at a time, and ends within the settings' ``timeout``."""

    def __init__(self, settings: SinkSettings, token: str) -> None:
        self._settings = settings
        self._client = InfluxDBClient(
            settings.url, token=token or "none", org=settings.org or "-", timeout=settings.timeout * _MILLISECONDS,
            retries=False,
        )  # fmt: skip
        self._service = WriteService(self._client.api_client)
        self._pool = PoolManager(retries=False, timeout=Timeout(total=settings.timeout))
        self._headers = {"Authorization": f"Token {token}"} if token else {}

    async def write(self, body: bytes) -> Answer:
        """Send lines to the v2 write API. Raises `OSError` where there is no answer."""
        return await asyncio.to_thread(self._write, body)

    async def export(self, form: Form) -> Answer:
        """Ask VictoriaMetrics for raw samples. Raises `OSError` where there is no answer."""
        return await asyncio.to_thread(self._export, form)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._pool.clear()

    def _write(self, body: bytes) -> Answer:
        try:
            _, status, _ = self._service.post_write_with_http_info(
                self._settings.org or "-", self._settings.bucket, body, precision="s", content_type=_TEXT
            )
        except ApiException as error:
            return Answer(error.status, _words(error.body), (error.headers or {}).get("Retry-After") or "")
        except HTTPError as error:
            raise OSError(str(error)) from error
        return Answer(status)

    def _export(self, form: Form) -> Answer:
        headers = self._headers | {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            found = self._pool.request(
                "POST", f"{self._settings.url.rstrip('/')}/api/v1/export", body=urlencode(form), headers=headers
            )
        except HTTPError as error:
            raise OSError(str(error)) from error
        return Answer(found.status, _words(found.data), found.headers.get("Retry-After") or "")


def _words(body: bytes | str | None) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
