"""Documents that are drawn from the sources, and the tests that they are as the sources say.

`python -m tests.docs` writes them all anew.
"""
