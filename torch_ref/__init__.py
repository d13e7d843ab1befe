"""The same networks and recipes in idiomatic PyTorch: what scratchnet is compared with.

`torch_ref.models` has the classes of `scratchnet.models` under the same file, class and attribute names, and
`python -m torch_ref.train mnist` runs the same recipe. Needs the torch extra: pip install 'scratchnet[torch]'.
"""
