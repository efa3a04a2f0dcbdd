"""Work on a Ray cluster: connecting to it, checking its nodes, streaming shards through it.

Ray schedules, retries and scales; nothing of that is done here. Ray is imported when a cluster is
asked for.
"""
