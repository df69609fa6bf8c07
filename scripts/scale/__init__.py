"""What several processes gain and what they change: the same small training by one process and by several.

    python -m scripts.scale --processes 1 2 4 --out catalog/benchmarks/scale-NAME.json

Every run is started by torchrun, as a person would start it; `worker.py` is what each process does. The rows and their
file are `scripts.scale_table`, which the site reads too.
"""
