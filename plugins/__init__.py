"""The plugins that come with tlearn, found through entry points like all others."""
