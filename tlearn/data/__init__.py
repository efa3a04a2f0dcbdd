"""From a folder of image files to a manifest, splits, and pixels."""
