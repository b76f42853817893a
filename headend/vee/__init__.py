"""Validation and estimation: what the raw layer is worth, per usage point. Rules are data (config/rules)."""
