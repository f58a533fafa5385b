"""Tests of the phases of a run."""
