"""Providers in the box: wire-faithful, fault-injecting. Imports nothing of ours, so that it can contradict us."""
