"""Hands on live connections: handles (`connection`), what happened to each packet (`observer`, `explanation`), copies
(`fork`), the stack that gives them (`live`). `scapystack.all` has the names; docs/repl.md is a session.
"""
