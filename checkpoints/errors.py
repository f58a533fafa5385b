"""What can be wrong with weights that come from elsewhere."""

from __future__ import annotations


class WeightsError(Exception):
    """A weight file that is absent, damaged, not what it should be, or of another network.

    `exit_code` is what an entry point returns to the shell: data, as a damaged data set.
    """

    exit_code = 3
