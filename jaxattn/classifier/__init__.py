"""A finished classifier in use: loaded, served, evaluated, exported."""
