"""What scapystack costs, measured. docs/performance.md tells what came out; each program says how it is called.

- `costs`: what a packet costs as work grows, in the worlds of `curves`;
- `codec`, `layers`, `stack`, `memory`, `link`: the codec beside Scapy, the layers below TCP, two stacks with
  nothing between them (`pair`), octets for each idle connection, a bare TAP;
- `compare_path`, `loss_soak`, `syn_flood`: stack and kernel over bad paths, as root, on the hosts of `rig`.
"""
