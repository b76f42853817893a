"""Collection: what to ask whom and when, one owner per line, and the cause of every slot that stays empty."""
