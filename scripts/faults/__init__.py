"""What a training run survives: killed at random moments, and met with every fault that a machine can have.

    python -m scripts.faults --kills 100 --processes 1 2 --out catalog/benchmarks/faults-NAME.json

Every run here is the real command line in a process of its own; nothing of it is replaced or told of the fault.
"""
