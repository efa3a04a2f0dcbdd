"""Backbones of newer families for tlearn; each module is a plugin."""
