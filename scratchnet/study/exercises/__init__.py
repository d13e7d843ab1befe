"""Exercises: a backward pass to write, and a judge that compares it with ops, gradcheck and the museum.

EXERCISES               in the order of the chapters; number 1 is the first
judge(exercise, path)   → Judgement of a learner's file
"""

from scratchnet.study.exercises.judge import Judgement, judge
from scratchnet.study.exercises.task import CHAPTERS, Exercise
from scratchnet.study.exercises.tasks import EXERCISES

__all__ = ["CHAPTERS", "EXERCISES", "Exercise", "Judgement", "judge"]
