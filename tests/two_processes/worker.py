"""One of two processes that wait for jobs on standard input; see `pair.py`.

Arguments: rank, world size, file at which the processes meet.
"""

from __future__ import annotations

import json
import os
import sys
import traceback


def main(rank: int, world: int, meeting: str) -> None:
    # Answers go to the real standard output; whatever libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

    def answer(error: str | None) -> None:
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()

    try:
        import torch
        import torch.distributed as dist
        from safetensors.torch import save_file
        from two_processes import jobs

        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    except Exception:
        answer(traceback.format_exc())
        return
    answer(None)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            found = getattr(jobs, order["job"])(**order["arguments"])
            save_file({name: value.detach().clone().contiguous() for name, value in found.items()}, order["out"])
            answer(None)
        except Exception:
            answer(traceback.format_exc())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
