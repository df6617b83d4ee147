"""Exercises of the page of broken programs, in its order: repairs.toml and repairs.py have them."""

from .repairs import REPAIRS

globals().update(REPAIRS)  # the engine finds exercises among a module's names
