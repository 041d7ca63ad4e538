"""Where frames come from and go to: TAP, memory, captures; and wrappers that watch or impair a link.

Read `base` first.
"""
