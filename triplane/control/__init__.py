"""The daemon that owns control.*: validates targets.yaml edits and takes commands."""
