"""Counters by name: one for every event and every reason to drop.

A drop is one line: `counters["ip.drop.checksum"] += 1`. A name that was never counted reads 0.
Names are `<layer>.<event>` and `<layer>.drop.<reason>`; `counternames` has them all, and what each counts.
"""


class Counters(dict[str, int]):
    """A dict whose missing keys read as 0 and are not created by reading."""

    def __missing__(self, key: str) -> int:
        return 0

    def drops(self) -> dict[str, int]:
        """Only the reasons for dropping that happened."""
        return {name: n for name, n in self.items() if ".drop." in name}
