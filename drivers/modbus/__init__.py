"""Modbus: sans-IO codecs (pdu, rtu, mbap, values, plan), and the session that drives them."""
