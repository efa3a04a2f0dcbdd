"""The frozen part of a network, computed once per view of an image and kept."""
