"""The web page: pages that show, and call what the rest of tlearn offers."""
