"""Float inference of a trained network over a whole set of images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sw.data import Images


def evaluate(model: nn.Module, images: Images, labels: np.ndarray) -> float:
    """Share of images [B, H, W, C] whose largest logit is their label's."""
    return float((logits(model, images).argmax(1) == labels).mean())


def logits(model: nn.Module, images: Images, batch: int = 500) -> np.ndarray:
    """Float logits [B, classes] in evaluation mode, in batches."""
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        batches = (np.ascontiguousarray(images[i:i + batch]) for i in range(0, len(images), batch))
        parts = [model(torch.tensor(part).to(device)).cpu().numpy() for part in batches]
    return np.concatenate(parts)
