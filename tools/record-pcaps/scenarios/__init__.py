"""What is recorded: one function per capture, by kind."""

from scenarios import (
    broken, closing, congestion, datagrams, fastopen, loss, path, programs, resets, scans,
    transfers, windows,
)

# In the order of the page.
KINDS = (
    transfers, programs, closing, resets, loss, congestion, windows, path, fastopen, scans,
    datagrams, broken,
)
