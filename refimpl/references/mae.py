"""MAE's loss by loops, and what the encoder may not see, from arXiv 2111.06377 sections 3 and 4."""

from __future__ import annotations

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.methods.masked import mae
from refimpl.references import Check, compare


def slow_patches(x: np.ndarray, patch: int) -> np.ndarray:
    images = []
    for image in x:
        patches = []
        for top in range(0, image.shape[1], patch):
            for left in range(0, image.shape[2], patch):
                window = image[:, top : top + patch, left : left + patch]
                patches.append(
                    [window[c, i, j] for i in range(patch) for j in range(patch) for c in range(len(window))]
                )
        images.append(patches)
    return np.array(images)


def slow_loss(prediction: np.ndarray, target: np.ndarray, hidden: np.ndarray, normalise: bool) -> float:
    total, count = 0.0, 0
    for b in range(len(target)):
        for n in range(target.shape[1]):
            if not hidden[b, n]:
                continue
            values = target[b, n]
            if normalise:
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                values = (values - mean) / np.sqrt(variance + 1e-6)
            total += sum((p - v) ** 2 for p, v in zip(prediction[b, n], values)) / len(values)
            count += 1
    return total / count


def _loss_case(normalise: bool) -> Check:
    rng = np.random.default_rng(2)
    hidden = np.array([[1, 0, 1, 1], [0, 1, 1, 0]])
    inputs = {"prediction": rng.normal(size=(2, 4, 6)), "target": rng.normal(size=(2, 4, 6)) * 3 + 1}
    return compare(
        f"loss and its gradient equal loops over hidden patches ({'normalised' if normalise else 'raw'} targets)",
        lambda prediction, target: mae.mae_loss(prediction, target, torch.from_numpy(hidden).to(target), normalise),
        lambda prediction, target: slow_loss(prediction, target, hidden, normalise),
        inputs,
    )


def normalised_targets() -> Check:
    return _loss_case(True)


def raw_targets() -> Check:
    return _loss_case(False)


def patches() -> Check:
    x = np.random.default_rng(3).normal(size=(2, 3, 8, 12))
    error = np.abs(mae.patchify(torch.from_numpy(x), 4).numpy() - slow_patches(x, 4)).max()
    return Check("patches hold the pixels that a window holds, in the same order everywhere", float(error), 0.0)


def hidden_patches_stay_hidden() -> Check:
    """Changing hidden pixels must not change what the encoder makes of the visible ones."""
    torch.manual_seed(0)
    method = mae.MAE({"image": Input(("a", "b"), 32)}, "vit_micro", decoder_width=32, decoder_depth=1).eval()
    x = torch.randn(2, 2, 32, 32)
    order = torch.stack([torch.randperm(64) for _ in range(2)])
    seen = torch.zeros(2, 64).scatter_(1, order[:, :16], 1.0).reshape(2, 1, 8, 8)
    everywhere = seen.repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(everywhere > 0, x, torch.randn_like(x))
    with torch.no_grad():
        difference = method.encode_visible(x, order[:, :16]) - method.encode_visible(other, order[:, :16])
    return Check("the encoder sees the visible patches only", float(difference.abs().max()), 1e-6)


def prediction_is_put_back_in_place() -> Check:
    """With the order undone, token n of the decoder's input must be the visible token n (or the mask token)."""
    torch.manual_seed(0)
    method = mae.MAE({"image": Input(("a",), 32)}, "vit_micro", decoder_width=32, decoder_depth=0)
    order = torch.stack([torch.randperm(64) for _ in range(2)])
    latent = torch.randn(2, 16, method.encoder.width)
    with torch.no_grad():
        got = method.decode(latent, order)
        tokens = method.mask_token.expand(2, 64, -1).clone()
        for b in range(2):
            for position in range(16):
                tokens[b, order[b, position]] = method.decoder_embed(latent[b, position])
        expected = method.decoder_out(method.decoder_norm(tokens + method.decoder_positions))
    return Check("predictions stand at their patch's place", float((got - expected).abs().max()), 1e-5)


CASES = [normalised_targets, raw_targets, patches, hidden_patches_stay_hidden, prediction_is_put_back_in_place]


def _loss_everywhere(prediction, target, hidden, normalise=True, original=mae.mae_loss):
    return original(prediction, target, torch.ones_like(hidden), normalise)


def _see_everything(self, x, seen):
    vit = self.encoder.net
    tokens = vit.norm(vit.blocks(vit._pos_embed(vit.patch_embed(x))))[:, vit.num_prefix_tokens :]
    return tokens.gather(1, seen[:, :, None].expand(-1, -1, tokens.shape[2]))


KNOCKOUTS = {
    "the loss on hidden patches only": lambda patch: patch(mae, "mae_loss", _loss_everywhere),
    "an encoder that sees visible patches only": lambda patch: patch(mae.MAE, "encode_visible", _see_everything),
}
