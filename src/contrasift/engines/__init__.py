"""Where the work runs when one process is not enough: on Ray, with the results of one process.

`cluster` reaches a cluster or starts one on this machine; `solving` selects with a task a group of
latent classes, `spread` relaxes a class that no worker need hold, `assigning` finds the nearest
centroids, `embedding` runs an encoder in actors. Ray schedules, retries and moves data; what is
here says what the tasks are and keeps what they finished.
"""
