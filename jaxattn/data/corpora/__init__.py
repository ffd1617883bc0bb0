"""Where a corpus is, its splits and its classes."""
