"""Published data for remote readers, over Arrow Flight SQL."""
