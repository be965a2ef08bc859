"""Precision: what narrow types need to know of a model's tensors, and the passes that use it.

In: a graph with its weights' values, and data for its inputs.  Out: the ranges of its tensors, as a file that
one can read and change, and the graph with quantised tensors in it.
"""
