"""Wire traces: what a link carried, written down with passwords and keys masked, read back and taken apart offline. Sans-IO.

`text` is the file format, `mask` hides secrets before anything is written, `tree` takes a trace apart down to values.
"""
