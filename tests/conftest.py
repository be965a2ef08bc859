"""Tests in every folder may import from this one: ``from command import trtdsl``."""
