"""Learning-rate schedulers, with torch.optim.lr_scheduler's signatures, formulas and state dicts."""

from scratchnet.optim.lr_scheduler.cosine_annealing_lr import CosineAnnealingLR
from scratchnet.optim.lr_scheduler.exponential_lr import ExponentialLR
from scratchnet.optim.lr_scheduler.lambda_lr import LambdaLR
from scratchnet.optim.lr_scheduler.linear_lr import ConstantLR, LinearLR
from scratchnet.optim.lr_scheduler.one_cycle_lr import OneCycleLR
from scratchnet.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.lr_scheduler.sequential_lr import SequentialLR
from scratchnet.optim.lr_scheduler.step_lr import MultiStepLR, StepLR

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
