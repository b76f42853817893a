"""What an exception-response or a confirmed-service-error means for who asked. IEC 62056-5-3, clauses 9.3 and 9.5."""

from collections.abc import Mapping

from drivers.dlms import xdlms
from drivers.errors import CounterRefused, DriverError, MeterRefused, RemoteProtocolError, SecurityError

# IEC 62056-5-3, ``ExceptionResponse`` and ``ServiceError``.
_STATES: Mapping[int, str] = {1: "service not allowed", 2: "service unknown"}
_SERVICES: Mapping[int, str] = {
    1: "operation not possible", 2: "service not supported", 3: "other reason", 4: "PDU too long",
    5: "deciphering error", 6: "invocation counter error",
}  # fmt: skip
_CATEGORIES: Mapping[int, str] = {
    0: "application reference", 1: "hardware resource", 2: "VDE state", 3: "service", 4: "definition", 5: "access",
    6: "initiate", 7: "load data", 9: "task", 10: "other",
}  # fmt: skip


def refusal(apdu: xdlms.Apdu, what: str) -> DriverError:
    """Give the error that a refusal of the whole APDU stands for. ``what``: what was asked."""
    if isinstance(apdu, xdlms.ConfirmedServiceError):
        return MeterRefused(
            f"{what}: service error {apdu.category}/{apdu.code} ({_CATEGORIES.get(apdu.category, 'unknown')})",
            apdu.code,
        )
    if not isinstance(apdu, xdlms.ExceptionResponse):
        return RemoteProtocolError(f"{what}: unexpected {type(apdu).__name__}")
    if apdu.service_error == xdlms.INVOCATION_COUNTER_ERROR:
        hint = "" if apdu.counter is None else f", it expects at least {apdu.counter}"
        return CounterRefused(f"{what}: the meter refuses our invocation counter{hint}")
    if apdu.service_error == xdlms.DECIPHERING_ERROR:
        return SecurityError(f"{what}: the meter cannot decipher our request: wrong key or system title")
    state = _STATES.get(apdu.state_error, "unknown")
    service = _SERVICES.get(apdu.service_error, "unknown")
    return MeterRefused(
        f"{what}: exception, state error {apdu.state_error} ({state}), service error {apdu.service_error} ({service})",
        apdu.service_error,
    )
