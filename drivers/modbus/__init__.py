"""Modbus: sans-IO codecs (pdu, functions, rtu, ascii, mbap, values, coalesce, learned), and the session that drives them."""
