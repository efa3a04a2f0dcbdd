"""Trainings that wait for each other, each a process of its own that outlives whoever asked.

    queue = Queue(Path("runs"))
    job = queue.submit(Path("photos"), RunConfig(), Path("runs/photos"))
    queue.live(job.id).fraction

A job is ``tlearn finetune`` in a process of its own with a low priority. The queue is a folder
(``.queue`` in the runs' folder), so that nothing is lost when a program that shows it ends, and any
number of programs may show and change it. One runner, a small process too, starts the jobs one by
one; it ends when none waits. Whoever looks at the queue wakes another when it is needed.

What is written, and by whom, each file whole or not at all, and under one lock:

    .queue/00000007-1c0ffee5/
      request.json  config.yaml   what was asked for, by whoever asked
      stop                        that it shall stop; the job looks for it
      state.json                  its process, by the job itself before it does anything else;
                                  then how it ended, by the runner, or by who looks if there is none
      log.jsonl                   what it says
    .queue/runner.json            the process of the runner
"""

from tlearn.jobs.job import Job
from tlearn.jobs.queue import Queue
from tlearn.jobs.watching import Live

__all__ = ["Job", "Live", "Queue"]
