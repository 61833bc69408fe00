"""Installs an app's Python packages into a layer."""
