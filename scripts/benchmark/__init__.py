"""The benchmark: this project's training beside that of other libraries, on equal work, in one process.

    python -m scripts.benchmark --peers lightly,torchgeo --out catalog/benchmarks/NAME.json

pairs.py        rounds in which everybody works in turn, and the ratio of their times
clock.py        seconds of a core on a CPU, seconds between two synchronisations on a GPU
work.py         the work: the images, and the operations that views consist of
ours.py         this project's way of doing it, through its public functions only
peers/          one file per library; none is imported before it is asked for
settings.py     what to measure, and how a row is made of times
making.py       data, views, and how these grow; training.py: the step, end to end, the loop itself
memory.py       peak memory, each in a process of its own; arithmetic.py: FLOPs and the machine's peak
show.py         the table on the terminal and the plot

The rows and their file are `scripts.comparisons`, which the site reads too.
The only program in `scripts` that imports the implementations: it measures them. No other program imports it.
"""
