"""`refimpl` whose process of rank 1 kills itself during a step, the first time it is started by torchrun.

Arguments: the step, then those of `refimpl`. Killed within the step, so that the others wait for it.
"""

from __future__ import annotations

import os
import signal
import sys

from refimpl.cli import main
from refimpl.engine.step import Stepper


def mortal(step: int) -> None:
    take = Stepper.take

    def dying(self, micro_batches, progress):
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return take(self, micro_batches, progress)

    Stepper.take = dying


if __name__ == "__main__":
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        mortal(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
