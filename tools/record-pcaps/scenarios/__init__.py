"""What is recorded: one function per capture, by kind."""

from scenarios import (
    broken, closing, congestion, datagrams, loss, programs, resets, scans, transfers, windows,
)

# In the order of the page.
KINDS = (
    transfers, programs, closing, resets, loss, congestion, windows, scans, datagrams, broken,
)
