"""The `scapystack` program: one file a command, read `main` first."""
