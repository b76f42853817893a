"""The xDLMS services of an association, one object for each request: its APDUs in order, and what is made of the answers.

Each lives in a module of its own and knows nothing of states; `drivers.dlms.association` holds the one table of them.
"""
