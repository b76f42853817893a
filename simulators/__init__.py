"""Meters, lines and concentrators that lie on request."""
