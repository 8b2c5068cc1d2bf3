"""Reinforced active learning for semantic segmentation."""
