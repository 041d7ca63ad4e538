"""What drives a stack: clocks, the fd loop, the owner thread, simulation in virtual time.

Read `driver` first: it is the one contract, and everything else here is a way to call it.
"""
