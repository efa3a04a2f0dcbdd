"""An example of each of tlearn's hooks beside backbones; each module is a plugin."""
