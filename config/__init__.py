"""Data only: meter profiles, rule sets and example settings. Installed as headend.config; read it with importlib.resources."""
