"""Meaning: what the utility makes of what the meters said. Import nothing here; headend.config is data beside it."""
