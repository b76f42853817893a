"""Checksums of the wire and the store: CRC-16 of Modbus, FCS-16 of HDLC, CRC-16/CCITT, CRC-32.

Each takes any contiguous buffer of bytes (empty allowed) and returns an unsigned int; ``start`` lets it go on from the bytes
before. Tables are made at import.

Eight bytes are taken at a time: the registers that each of them leaves behind, if it stood alone, add up to the register of all
eight, so there are eight tables, of what a byte leaves with 0 to 7 more behind it. Short frames are mostly the call itself,
so bytes are taken without a memoryview.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1

ctypedef uint32_t[8][256] Tables

cdef enum:
    LONG = 4096  # bytes from which on others may run meanwhile; below, letting them costs more than the sum

cdef Tables MODBUS, X25, CCITT, CRC32


cdef inline uint32_t swapped(uint32_t register) noexcept nogil:
    return (register >> 8 & 0xFF) | (register << 8 & 0xFF00)


cdef uint32_t reflected(uint32_t register, uint32_t polynomial) noexcept nogil:
    cdef int bit
    for bit in range(8):
        register = (register >> 1) ^ (polynomial if register & 1 else 0)
    return register


cdef void follow(Tables tables) noexcept nogil:
    """Fill the other tables from the first."""
    cdef uint32_t byte, register
    cdef int behind
    for behind in range(1, 8):
        for byte in range(256):
            register = tables[behind - 1][byte]
            tables[behind][byte] = (register >> 8) ^ tables[0][register & 0xFF]


cdef void fill_tables() noexcept nogil:
    cdef uint32_t byte, register
    cdef int bit
    for byte in range(256):
        MODBUS[0][byte] = reflected(byte, 0xA001)
        X25[0][byte] = reflected(byte, 0x8408)
        CRC32[0][byte] = reflected(byte, 0xEDB88320)
        register = byte << 8
        for bit in range(8):
            register = (register << 1) ^ (0x1021 if register & 0x8000 else 0)
        # Most significant bit first is the same with the register's octets the other way round.
        CCITT[0][byte] = swapped(register)
    follow(MODBUS)
    follow(X25)
    follow(CCITT)
    follow(CRC32)


fill_tables()


cdef uint32_t run(const Tables tables, const uint8_t* at, Py_ssize_t n, uint32_t register) noexcept nogil:
    while n >= 8:
        register = (
            tables[7][at[0] ^ (register & 0xFF)] ^ tables[6][at[1] ^ (register >> 8 & 0xFF)]
            ^ tables[5][at[2] ^ (register >> 16 & 0xFF)] ^ tables[4][at[3] ^ (register >> 24)]
            ^ tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]]
        )
        at += 8
        n -= 8
    while n:
        register = (register >> 8) ^ tables[0][(register ^ at[0]) & 0xFF]
        at += 1
        n -= 1
    return register


cdef int64_t over(const Tables tables, object data, uint32_t register) except -1:
    cdef const uint8_t[::1] view
    cdef const uint8_t* at
    cdef Py_ssize_t n
    if PyBytes_CheckExact(data):
        at = <const uint8_t*>PyBytes_AS_STRING(data)
        n = PyBytes_GET_SIZE(data)
    elif data is None:
        raise TypeError("None has no bytes")
    else:
        view = data
        n = view.shape[0]
        at = &view[0] if n else NULL
    if n < LONG:
        return run(tables, at, n, register)
    with nogil:
        register = run(tables, at, n, register)
    return register


cdef uint32_t check_start(object start, uint32_t highest) except? 0xFFFFFFFF:
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(start, &overflow)
    if overflow or not 0 <= number <= highest:
        raise ValueError(f"start {start} is not in 0..{highest}")
    return <uint32_t>number


def crc16_modbus(data, start=0xFFFF):
    """Compute the CRC of a Modbus RTU frame; sent low byte first. Source: Modbus over serial line 1.02, 6.2.2.

    ``start``: 0xFFFF, or the result over the bytes before, to go on. Raises `ValueError` if it is not 16 bits.
    """
    return over(MODBUS, data, check_start(start, 0xFFFF))


def fcs16(data, start=0):
    """Compute the HDLC frame check sequence (CRC-16/X-25); sent low byte first. Source: ISO/IEC 13239, 4.2.5; RFC 1662, C.2.

    ``start``: 0, or the result over the bytes before, to go on. Raises `ValueError` if it is not 16 bits.
    """
    return over(X25, data, check_start(start, 0xFFFF) ^ 0xFFFF) ^ 0xFFFF


def crc16_ccitt(data, start=0xFFFF):
    """Compute CRC-16 of polynomial 0x1021, most significant bit first, nothing inverted. Source: ITU-T V.41.

    ``start``: 0xFFFF (often called CCITT-FALSE) or 0 (XMODEM), or the result over the bytes before, to go on. Raises
    `ValueError` if it is not 16 bits.
    """
    return swapped(<uint32_t>over(CCITT, data, swapped(check_start(start, 0xFFFF))))


def crc32(data, start=0):
    """Compute CRC-32 as zlib and Ethernet do. Source: ISO/IEC/IEEE 8802-3, 3.2.9.

    ``start``: 0, or the result over the bytes before, to go on. Raises `ValueError` if it is not 32 bits.
    """
    return over(CRC32, data, check_start(start, 0xFFFFFFFF) ^ <uint32_t>0xFFFFFFFF) ^ <uint32_t>0xFFFFFFFF
