"""What PyTorch tests itself with: torch.testing._internal, imported without its side effects."""

import hypothesis
import pytest
import torch


def torch_internals(name):
    """The module torch.testing._internal.<name>, or a skip where it cannot be imported (it needs expecttest).

    Its import loads a Hypothesis profile of its own and freezes the flags in torch.backends; both are put back.
    """
    profile = hypothesis.settings.get_current_profile_name()
    try:
        return pytest.importorskip(f"torch.testing._internal.{name}", exc_type=ImportError)
    finally:
        hypothesis.settings.load_profile(profile)
        torch.backends.__allow_nonbracketed_mutation_flag = True


def arrays(value):
    """A sample with NumPy arrays in place of its tensors."""
    if isinstance(value, torch.Tensor):
        return value.detach().resolve_conj().resolve_neg().numpy()
    if isinstance(value, list | tuple):
        return type(value)(map(arrays, value))
    if isinstance(value, dict):
        return {name: arrays(v) for name, v in value.items()}
    return value
