"""benchsuite: which model, which GPU, which concurrency, at what cost, under which promise, and how sure.

A sweep turns a spec into files of raw facts; everything after is a pure function of those files.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
