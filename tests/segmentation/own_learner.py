"""A semi-supervised learner as a user would write it: mean teacher with pseudo labels, a strong view and CutMix.

It also looks at unlabelled images: what the averaged network is sure of there, the network must find again in strongly
disturbed and mixed windows (after Tarvainen, Valpola 2017; French et al. 2020; Sohn et al. 2020).
"""

import numpy as np
import torch

from ralseg.segmentation.augmentation import Strong, cut_mixed
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.learners import SupervisedLearner
from ralseg.segmentation.losses import cross_entropy


class MeanTeacher(SupervisedLearner):
    def __init__(self, *given, weight=0.5, sure=0.3, images_a_step=2, **settings):
        self.weight, self.sure, self.images_a_step, self.view = weight, sure, images_a_step, Strong()
        super().__init__(*given, **settings)

    def objective(self, batches, weights, data, rng):
        loss = super().objective(batches, weights, data, rng)
        if not len(data.unlabelled):
            return loss
        chosen = rng.choice(data.unlabelled, self.images_a_step).tolist()
        for images in self._chunks(chosen, self.images_a_step):
            windows = np.stack([self.images.image(i) for i in images])
            targets = self.pseudo_labels(windows)
            windows = np.stack([self.view(window, rng) for window in windows])
            windows, targets = cut_mixed(windows, targets, rng)
            found = self.student(self.lower(windows)).logits
            loss = loss + self.weight * cross_entropy(
                [found], [to_device(targets, self.device)], torch.ones_like(weights)
            )
        return loss

    def pseudo_labels(self, windows):
        with torch.no_grad():
            shares = self._averaged(self.lower(windows), self.options.cut).logits.float().softmax(1)
        best = shares.amax(1, keepdim=True)
        return ((shares == best) & (best > self.sure)).float().cpu().numpy()

    def lower(self, windows):
        with torch.no_grad():
            return self._network.lower(self._network.normalise(to_device(windows, self.device)), self.options.cut)
