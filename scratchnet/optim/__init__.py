"""Optimizers and learning-rate schedulers, with torch.optim's signatures, semantics and state dicts.

Each optimizer's file begins with its algorithm as formulas, followed by the function that is the algorithm
(`sgd_update` and so on, over plain arrays) and the class that keeps its options and state.
"""

from scratchnet.optim import lr_scheduler
from scratchnet.optim.adagrad import Adagrad
from scratchnet.optim.adam import Adam
from scratchnet.optim.adamw import AdamW
from scratchnet.optim.optimizer import Optimizer
from scratchnet.optim.rmsprop import RMSprop
from scratchnet.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
