"""PyTorch modules, exported programs and ONNX files as readable `.trtnet` text.

In: a module with example inputs, a ``torch.export.ExportedProgram``, a file.  Out: an :class:`Imported`,
the text and the arrays that it needs beside the state dict::

    module ─▶ Program ─simplify─▶ Program ─translate─▶ Sketch ─structure─▶ Sketch ─write─▶ text

Each arrow is a file: ``torch_export`` reads, ``simplify`` and ``constants`` rewrite, ``translate`` names the
language's operators, ``structure`` finds blocks and loops, ``write`` writes.
"""
