"""TCP (RFC 9293): its state, by phase, one file each; its leaf objects know nothing of a connection.

Read first: `state` (the eleven states and the legal changes), `tcb` (a connection's variables),
then the walk in (`demux`, `listen`, `handshake`, `input`, `ack`) and the walk out (`output`,
`timers`, `recovery`). The leaves may be read alone, in any order: `rtt`, `options`, `isn`,
`reassembly`, `sendbuf`, `recvqueue` and `congestion`.
"""
