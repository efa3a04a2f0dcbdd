"""The backbones that come with tlearn, found through entry points like anybody else's."""
