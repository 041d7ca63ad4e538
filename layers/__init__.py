"""The protocols' state, imported as `scapystack.layers` (through the symlink beside `base`)."""
