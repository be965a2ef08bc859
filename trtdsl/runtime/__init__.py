"""An engine on a GPU: loaded, given arrays, run, timed; and what its manifest says of it."""
