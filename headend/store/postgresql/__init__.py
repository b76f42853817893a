"""The store's engine for a PostgreSQL server. Needs the extra ``headend[postgresql]``."""
