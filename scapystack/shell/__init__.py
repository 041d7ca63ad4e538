"""The net shell: commands on a running stack, for a person, a script or a test.

A command is one function (a click command) in a file with its relatives, and its line in `table.COMMANDS`. It
gets a `Session`, acts on the stack under the driver's lock, and says what it found through the session's
`Output`, as lines or as JSON. Who types is elsewhere: at a prompt (`prompt`), behind the control socket
(`control`, `client`), or in a test that reads strings. Read `session` first, then `table`.
"""
