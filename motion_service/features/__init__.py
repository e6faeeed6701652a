"""Feature layouts: numbers a network reads and writes <-> joints and bones, as inverse pairs."""
