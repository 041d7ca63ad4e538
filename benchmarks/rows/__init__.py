"""Every row, by name. A new one is a `Row` in the list of its file (`ROWS`); a new file, a line here."""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.rows import layers, micro, program, simulated, tap, tcp

ROWS: dict[str, Row] = {
    row.name: row
    for rows in (micro.ROWS, layers.ROWS, tcp.ROWS, simulated.ROWS, program.ROWS, tap.ROWS)
    for row in rows
}
