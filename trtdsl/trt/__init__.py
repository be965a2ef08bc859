"""TensorRT: dialects, the checked network, lowering, building, evaluation on the CPU, the engine."""
