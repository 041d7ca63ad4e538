"""What scapystack costs, measured. docs/performance.md tells what came out; each program says how it is called.

- `python -m benchmarks` (`make bench`): every `Row` of `rows`, or two commits side by side (`compare`);
- `costs` (`make costs`): what a packet costs as work grows, in the worlds of `curves`;
- `codec`, `memory`, `link`: the codec beside Scapy with its goals; octets for each idle connection, line by line; a
  bare TAP;
- `compare_path`, `loss_soak`, `syn_flood`: stack and kernel over bad paths, as root, on the hosts of `rig`.

What they stand on: `row`, `pair` (two stacks with nothing between them), `feed` (one stack that is fed).
"""
