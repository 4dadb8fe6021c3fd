"""The temporal-spatial convolution that NICE and ATM share, computed in an order that costs less."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.encoders.base import Dropout, trials_at_once
from phosphene.errors import PhospheneError


class TSConv(nn.Module):
    """Temporal convolution, pooling, spatial convolution: (batch, n_chans, n_times) -> (batch, steps, width).

    The block of NICE (Song et al., ICLR 2024, arXiv 2308.13234, section 3): convolution (1, kernel), average pooling,
    batch norm, ELU, convolution (n_chans, 1), batch norm, ELU, dropout, convolution (1, 1). The layers hold parameters
    under the published names and are not called in turn: pooling and the temporal convolution are both linear, so that
    samples are pooled first, with stride 1; the convolution is then a product of strided windows of few samples; and
    the mean and variance that batch norm needs follow from the windows' covariance (kernel, kernel), so that batch norm
    is part of that product's weights.

    Parameters
    ----------
    n_chans, n_times : of the EEG.
    kernel, pool, stride : samples. The published values (25, 51, 5) are for 250 samples at 250 Hz.
    dropout : after the spatial convolution.
    width : filters.

    Raises
    ------
    PhospheneError
        If ``n_times`` is shorter than one window.
    """

    def __init__(
        self, n_chans: int, n_times: int, kernel: int, pool: int, stride: int, dropout: float, width: int = 40
    ):
        super().__init__()
        if min(kernel, pool, stride) < 1:
            raise PhospheneError(f"kernel {kernel}, pool {pool} and stride {stride} must be 1 or more")
        if n_times - kernel + 1 < pool:
            raise PhospheneError(
                f"{n_times} samples are too few for kernel {kernel} and pool {pool}: lower them or lengthen the window"
            )
        self.kernel, self.pool, self.stride, self.width = kernel, pool, stride, width
        self.steps = (n_times - kernel + 1 - pool) // stride + 1
        self.tsconv = nn.Sequential(
            nn.Conv2d(1, width, (1, kernel)),
            nn.AvgPool2d((1, pool), (1, stride)),
            nn.BatchNorm2d(width),
            nn.ELU(),
            nn.Conv2d(width, width, (n_chans, 1)),
            nn.BatchNorm2d(width),
            nn.ELU(),
            Dropout(dropout),
        )
        self.projection = nn.Sequential(nn.Conv2d(width, width, (1, 1)))

    def forward(self, eeg: Tensor) -> Tensor:
        layers: Any = self.tsconv
        spatial, norm, elu, dropout = layers[4:]
        n_chans = eeg.shape[1]
        rows, weight, bias = self._temporal(eeg)
        across = spatial.weight.permute(0, 2, 1, 3).reshape(self.width, -1)  # filters, channels x filters
        parts = []
        for part in rows.split(trials_at_once(eeg) * n_chans):
            windows = _Windows.apply(part, self.kernel, self.stride, self.steps)
            filtered = F.elu_(torch.baddbmm(bias.expand(self.steps, 1, -1), windows, weight.expand(self.steps, -1, -1)))
            parts.append(F.linear(filtered.view(self.steps, -1, n_chans * self.width), across, spatial.bias))
        x = torch.cat(parts, dim=1)  # steps, batch, filters
        x = dropout(elu(norm(x.permute(1, 2, 0)[:, :, None])))  # batch, filters, 1, steps
        out: Any = self.projection[0]
        return F.linear(x.squeeze(2).transpose(1, 2), out.weight.flatten(1), out.bias)

    def _temporal(self, eeg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled rows (batch x n_chans, samples), and the convolution's weight (kernel, width) and bias, normalised."""
        layers: Any = self.tsconv
        conv, norm = layers[0], layers[2]
        rows = _Pooled.apply(eeg.flatten(0, 1), self.pool)
        filters = conv.weight.flatten(1)
        if norm.training:
            mean, var = self._moments(rows, filters.to(_wide(eeg)), conv.bias)
            with torch.no_grad():
                count = len(rows) * self.steps
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
                norm.running_var.lerp_((var * count / max(count - 1, 1)).to(norm.running_var.dtype), norm.momentum)
        else:
            mean, var = norm.running_mean, norm.running_var
        scale = norm.weight * torch.rsqrt(var + norm.eps)
        weight, bias = filters.T * scale, norm.bias + (conv.bias - mean) * scale
        return rows, weight.to(eeg.dtype), bias.to(eeg.dtype)

    def _moments(self, rows: Tensor, filters: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (width,) of the convolution's output over batch, channels and steps."""
        offset = rows.mean().detach()
        products, sums = _Products.apply(rows, offset)
        starts = range(0, self.steps * self.stride, self.stride)
        count = len(rows) * self.steps
        mean = torch.stack([sums[i : i + self.kernel] for i in starts]).sum(dim=0) / count
        square = torch.stack([products[i : i + self.kernel, i : i + self.kernel] for i in starts]).sum(dim=0) / count
        var = ((filters @ (square - torch.outer(mean, mean))) * filters).sum(dim=1).clamp(min=0)
        return filters @ (mean + offset) + bias, var


def _wide(x: Tensor) -> torch.dtype:
    """What running sums and variances, which lose digits, are computed in."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _running_mean(x: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    total = F.pad(x.to(dtype).cumsum(dim=1), (1, 0))
    return ((total[:, n:] - total[:, :-n]) / n).to(x.dtype)


# The gradients of these three are written out: what automatic differentiation makes of them takes twice the time of the
# rest of the block.


class _Pooled(torch.autograd.Function):
    """Mean of every ``n`` successive samples: (rows, samples) -> (rows, samples - n + 1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.n = n
        return _running_mean(x, n, _wide(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _running_mean(F.pad(grads[0], (ctx.n - 1, ctx.n - 1)), ctx.n, grads[0].dtype), None


class _Products(torch.autograd.Function):
    """Products (samples, samples) and sums (samples,) over the rows of ``x`` less the constant ``offset``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, offset)
        rows = x.to(_wide(x)) - offset
        return rows.T @ rows, rows.sum(dim=0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, offset = ctx.saved_tensors
        products, sums = grads[0].to(x.dtype), grads[1].to(x.dtype)
        return torch.addmm(sums, x - offset, products + products.T), None


class _Windows(torch.autograd.Function):
    """(rows, samples) -> (steps, rows, kernel), a view of windows that start ``stride`` samples apart."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, steps: int) -> Tensor:
        ctx.kernel, ctx.stride, ctx.shape = kernel, stride, x.shape
        return x.as_strided((steps, len(x), kernel), (stride, x.stride(0), 1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        out = grads[0].new_zeros(ctx.shape)
        for i, grad in enumerate(grads[0]):
            out[:, i * ctx.stride : i * ctx.stride + ctx.kernel] += grad
        return out, None, None, None
