"""For all tests: property tests are the same on every machine and every run, however slow it is."""

from hypothesis import settings

settings.register_profile("benchsuite", deadline=None, derandomize=True)
settings.load_profile("benchsuite")
