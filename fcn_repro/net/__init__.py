"""Nets: graph, plan, parameters, execution."""

from .net import Net

__all__ = ['Net']
