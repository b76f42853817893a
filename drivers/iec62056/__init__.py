"""IEC 62056-21: sans-IO codecs of the opening, of messages with their check character, and of what data lines say."""
