"""What a model can be written out as, beside an engine.

In: a graph or a file.  Out: files for other programs; :mod:`trtdsl.exporters.script` writes a Python script
that builds the network with TensorRT alone.
"""
