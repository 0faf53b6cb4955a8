"""What every test runs under."""

import os

from hypothesis import settings

# Two shared cores stall now and then: how long an example takes says nothing. A failure prints how to repeat it. The
# gate tries the same examples every time, so that it judges the change and not the dice; runs by hand go on searching.
settings.register_profile("arbhub", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("arbhub")
