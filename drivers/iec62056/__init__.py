"""IEC 62056-21: sans-IO codecs of the opening, messages and data lines, and the conversation that drives them."""
