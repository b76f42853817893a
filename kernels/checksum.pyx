"""Checksums of the wire and the store: CRC-16 of Modbus, FCS-16 of HDLC, CRC-16/CCITT, CRC-32.

Each takes any contiguous buffer of bytes (empty allowed) and returns an unsigned int. Tables are made at import.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef uint16_t[256] MODBUS
cdef uint16_t[256] X25
cdef uint16_t[256] CCITT
cdef uint32_t[256] CRC32


cdef uint32_t reflected(uint32_t byte, uint32_t polynomial) noexcept nogil:
    cdef uint32_t register = byte
    cdef int bit
    for bit in range(8):
        register = (register >> 1) ^ (polynomial if register & 1 else 0)
    return register


cdef void fill_tables() noexcept nogil:
    cdef uint32_t byte, register
    cdef int bit
    for byte in range(256):
        MODBUS[byte] = <uint16_t>reflected(byte, 0xA001)
        X25[byte] = <uint16_t>reflected(byte, 0x8408)
        CRC32[byte] = reflected(byte, 0xEDB88320)
        register = byte << 8
        for bit in range(8):
            register = (register << 1) ^ (0x1021 if register & 0x8000 else 0)
        CCITT[byte] = <uint16_t>register


fill_tables()


cdef inline uint16_t run16(const uint16_t* table, const uint8_t[::1] data, uint16_t register) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(data.shape[0]):
        register = (register >> 8) ^ table[(register ^ data[i]) & 0xFF]
    return register


cdef uint32_t check_start(object start, object highest) except? 0xFFFFFFFF:
    if not 0 <= start <= highest:
        raise ValueError(f"start {start} is not in 0..{highest}")
    return start


def crc16_modbus(const uint8_t[::1] data not None, start=0xFFFF):
    """Compute the CRC of a Modbus RTU frame; sent low byte first. Source: Modbus over serial line 1.02, 6.2.2.

    ``start``: 0xFFFF, or the result over the bytes before, to go on. Raises `ValueError` if it is not 16 bits.
    """
    cdef uint16_t register = <uint16_t>check_start(start, 0xFFFF)
    with nogil:
        register = run16(MODBUS, data, register)
    return register


def fcs16(const uint8_t[::1] data not None):
    """Compute the HDLC frame check sequence (CRC-16/X-25); sent low byte first. Source: ISO/IEC 13239, 4.2.5; RFC 1662, C.2."""
    cdef uint16_t register
    with nogil:
        register = run16(X25, data, 0xFFFF)
    return register ^ 0xFFFF


def crc16_ccitt(const uint8_t[::1] data not None, start=0xFFFF):
    """Compute CRC-16 of polynomial 0x1021, most significant bit first, nothing inverted. Source: ITU-T V.41.

    ``start``: 0xFFFF (often called CCITT-FALSE) or 0 (XMODEM). Raises `ValueError` if it is not 16 bits.
    """
    cdef uint16_t register = <uint16_t>check_start(start, 0xFFFF)
    cdef Py_ssize_t i
    with nogil:
        for i in range(data.shape[0]):
            register = <uint16_t>(register << 8) ^ CCITT[(register >> 8) ^ data[i]]
    return register


def crc32(const uint8_t[::1] data not None, start=0):
    """Compute CRC-32 as zlib and Ethernet do. Source: ISO/IEC/IEEE 8802-3, 3.2.9.

    ``start``: 0, or the result over the bytes before, to go on. Raises `ValueError` if it is not 32 bits.
    """
    cdef uint32_t register = check_start(start, 0xFFFFFFFF) ^ <uint32_t>0xFFFFFFFF
    cdef Py_ssize_t i
    with nogil:
        for i in range(data.shape[0]):
            register = (register >> 8) ^ CRC32[(register ^ data[i]) & 0xFF]
    return register ^ <uint32_t>0xFFFFFFFF
