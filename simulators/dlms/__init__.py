"""A simulated DLMS/COSEM meter: its objects, its associations, and a gateway with several of them behind one port."""
