"""The ops of scratchnet.ops once more, on the other rungs of the ladder: same functions, same file names.

`scratchnet.backend` lists the rungs and picks one. Every rung gives the same answers; what differs is how fast, and
how much like the formula on paper it looks.
"""
