"""What an exception-response or a confirmed-service-error means for who asked. IEC 62056-5-3, clauses 9.3 and 9.5."""

from drivers.dlms import xdlms
from drivers.errors import CounterRefused, DriverError, MeterRefused, RemoteProtocolError, SecurityError


def refusal(apdu: xdlms.Apdu, what: str) -> DriverError:
    """Give the error that a refusal of the whole APDU stands for. ``what``: what was asked."""
    if isinstance(apdu, xdlms.ConfirmedServiceError):
        return MeterRefused(f"{what}: service error {apdu.category}/{apdu.code}", apdu.code)
    if not isinstance(apdu, xdlms.ExceptionResponse):
        return RemoteProtocolError(f"{what}: unexpected {type(apdu).__name__}")
    if apdu.service_error == xdlms.INVOCATION_COUNTER_ERROR:
        hint = "" if apdu.counter is None else f", it expects at least {apdu.counter}"
        return CounterRefused(f"{what}: the meter refuses our invocation counter{hint}")
    if apdu.service_error == xdlms.DECIPHERING_ERROR:
        return SecurityError(f"{what}: the meter cannot decipher our request: wrong key or system title")
    return MeterRefused(
        f"{what}: exception, state error {apdu.state_error}, service error {apdu.service_error}", apdu.service_error
    )
