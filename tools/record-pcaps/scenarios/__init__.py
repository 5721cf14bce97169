"""What is recorded: one function per capture, by kind."""

from scenarios import broken, closing, datagrams, loss, programs, resets, scans, transfers, windows

# In the order of the page.
KINDS = (transfers, programs, closing, resets, loss, windows, scans, datagrams, broken)
