"""DL/T 645-2007 and -1997: sans-IO codecs (frame, control, services, values, records), and the session that drives them."""
