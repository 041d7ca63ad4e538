"""Harnesses that tests share: a layer alone, with the test as the rest of the world."""
