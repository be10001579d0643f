"""Caffe's solvers: nets, rules, rates, update, snapshots."""

from .solver import Solver

__all__ = ['Solver']
