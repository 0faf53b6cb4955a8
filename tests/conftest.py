"""What every test runs under."""

from hypothesis import settings

# Two shared cores stall now and then: how long an example takes says nothing. A failure prints how to repeat it.
settings.register_profile("arbhub", deadline=None, print_blob=True)
settings.load_profile("arbhub")
